"""What nobody asks for: the trash is emptied after some weeks, texts of no version are removed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from common.database import Database, DatabaseUnavailableError
from common.objects import ObjectStoreUnavailableError

from ..repository import PurgeRepository, RootRepository
from ..storage import BodyStore
from .purge import end_roots

log = logging.getLogger(__name__)

ROUND_SECONDS: Final = 60.0
AT_ONCE: Final = 500


class Caretaker:
    """Tidies up once a minute; several at once do no harm."""

    def __init__(self, worker: Database, bodies: BodyStore, trash_days: int) -> None:
        self._worker = worker
        self._bodies = bodies
        self._trash_days = trash_days

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.tidy()
            except (DatabaseUnavailableError, ObjectStoreUnavailableError) as error:
                log.info("not tidied", extra={"fields": {"cause": str(error)}})
            await asyncio.sleep(ROUND_SECONDS)

    async def tidy(self) -> None:
        """One round. Raises `DatabaseUnavailableError`, `ObjectStoreUnavailableError`."""
        await self._repeat(self._expire)
        await self._repeat(self._take)
        await self._repeat(self._remove)

    async def _repeat(self, step: Callable[[], Awaitable[int]]) -> None:
        while await step() == AT_ONCE:
            pass

    async def _expire(self) -> int:
        async with self._worker.transaction() as transaction:
            repository = PurgeRepository(transaction, None)
            documents = await repository.expire(self._trash_days, AT_ONCE)
            folders = await repository.expire_folders(self._trash_days, AT_ONCE)
            await end_roots(RootRepository(transaction, None), [*documents, *folders])
        return max(len(documents), AT_ONCE if folders else 0)

    async def _take(self) -> int:
        async with self._worker.transaction() as transaction:
            repository = PurgeRepository(transaction, None)
            return await repository.take(AT_ONCE) if await repository.any_garbage() else 0

    async def _remove(self) -> int:
        async with self._worker.transaction() as transaction:
            taken = await PurgeRepository(transaction, None).taken(AT_ONCE)
        for row in taken:
            await self._bodies.remove(row["workspace_id"], row["sha256"])
        if taken:
            async with self._worker.transaction() as transaction:
                await PurgeRepository(transaction, None).removed(taken)
        return len(taken)
