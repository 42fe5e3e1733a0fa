"""Requests are answered while their transaction is still to be committed."""

import asyncio

from common.database import Transaction

COMMIT_SECONDS = 0.01
tasks: set[asyncio.Task[None]] = set()


def plant() -> None:
    durable_commit = Transaction.commit

    async def later(self: Transaction) -> None:
        await asyncio.sleep(COMMIT_SECONDS)
        await durable_commit(self)

    async def commit(self: Transaction) -> None:
        task = asyncio.create_task(later(self))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    Transaction.commit = commit  # type: ignore[method-assign]
