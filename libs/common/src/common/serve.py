"""`python -m common.serve <service>`: one process, one event loop, the public and the internal port."""

import asyncio
import importlib
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
import uvloop
from fastapi import FastAPI

from common import telemetry
from common.platform import SCHEMA_TOO_OLD_EXIT
from common.revisions import schema_of
from common.settings import CommonSettings

KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 25
SOCKET_MESSAGE_BYTES = 17 * 1024 * 1024


class Listener(uvicorn.Server):
    """A uvicorn server that leaves the signals to us and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port, after the app's own start."""
        await super().startup(sockets)
        if self.started:
            self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: two servers share one process."""
        yield


def listener(app: FastAPI, host: str, port: int, lifespan: str) -> Listener:
    """A server of one app on one port, tuned for sitting behind the gateway."""
    return Listener(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http="httptools",
            lifespan=lifespan,  # type: ignore[arg-type]
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws=getattr(app.state, "websockets", "auto"),  # a service may bring its own protocol
            ws_max_size=SOCKET_MESSAGE_BYTES,
            ws_per_message_deflate=False,
        )
    )


async def serve(app: FastAPI, settings: CommonSettings) -> int:
    """Serve until SIGTERM or SIGINT: answer 503 on ready for `drain_seconds`, then finish what is open."""
    public = listener(app, settings.host, settings.port, "on")
    internal = listener(app.state.internal_app, settings.host, settings.internal_port, "off")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(public.serve())
    listening = asyncio.create_task(public.listening.wait())
    await asyncio.wait((running, listening), return_when=asyncio.FIRST_COMPLETED)
    if not listening.done():
        listening.cancel()
        return SCHEMA_TOO_OLD_EXIT if app.state.schema_too_old else 1
    aside = asyncio.create_task(internal.serve())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((running, aside, stopping), return_when=asyncio.FIRST_COMPLETED)
    platform = app.state.platform
    platform.draining = True
    await asyncio.sleep(settings.drain_seconds)
    platform.connections.drain()
    public.should_exit = internal.should_exit = True
    stopping.cancel()
    await asyncio.gather(running, aside)
    return int(platform.exit_code)


def main(arguments: list[str]) -> int:
    """Serve the named service; exit code 3 means its schema is too old."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m common.serve <service>\n")
        return 2
    app: FastAPI = importlib.import_module(f"{schema_of(arguments[0])}.main").create()
    settings: CommonSettings = app.state.settings
    provider = telemetry.setup(settings.service, settings.state_dir, settings.otlp_endpoint, settings.log_level)
    try:
        return uvloop.run(serve(app, settings))
    finally:
        provider.shutdown()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
