"""pycrdt-websocket under uvicorn, as its documentation starts it: `python -m deploy.bench.collab.pycrdt_server <port>`.

COLD: file with the state of every document whose name begins with "cold".
"""

import asyncio
import os
import sys
from pathlib import Path

import uvicorn
import uvloop
from pycrdt.websocket import ASGIServer, WebsocketServer, YRoom

COLD = os.environ.get("COLD")


class Rooms(WebsocketServer):
    """Rooms that load a stored state."""

    async def get_room(self, name: str) -> YRoom:
        fresh = name not in self.rooms
        room = await super().get_room(name)
        if fresh and COLD and name.lstrip("/").startswith("cold"):
            room.ydoc.apply_update(Path(COLD).read_bytes())
        return room


async def serve(port: int) -> None:
    rooms = Rooms()
    config = uvicorn.Config(ASGIServer(rooms), port=port, log_level="warning", backlog=2048, lifespan="off")
    async with rooms:
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
