"""Others see an edit before it is durable; only a commit makes it so, and that comes later."""

import asyncio

from collab.domain import wire
from collab.rooms.commit import GroupCommit


def plant() -> None:
    write = GroupCommit._write

    async def broadcast_first(self, batches):
        for batch in batches:
            batch.room.audience.tell(wire.update_message(batch.payload))
        await asyncio.sleep(0.2)
        return await write(self, batches)

    GroupCommit._write = broadcast_first
