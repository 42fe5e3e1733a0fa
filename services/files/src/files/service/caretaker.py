"""What nobody asks for: uploads that ran out of time, files attached to nothing, bytes of no file, garbage."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Final

from common.database import Database, DatabaseUnavailableError
from common.objects import FileStore, ObjectStoreUnavailableError

from ..repository import BlobRepository, UploadRepository
from .inventory import GRACE_SECONDS, Inventory
from .uploads import remove

log = logging.getLogger(__name__)

ROUND_SECONDS: Final = 60.0
AT_ONCE: Final = 500
REMEMBERED_DAYS: Final = 30
SWEEP_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Grace:
    """Hours until something is deleted."""

    orphan_hours: int
    unused_hours: int


class Caretaker:
    """Tidies up once a minute; several at once do no harm."""

    def __init__(self, worker: Database, store: FileStore, grace: Grace) -> None:
        self._worker = worker
        self._store = store
        self._grace = grace

    async def run(self) -> None:
        """Until cancelled."""
        swept = -SWEEP_SECONDS
        while True:
            try:
                await self.tidy()
                if time.monotonic() >= swept + SWEEP_SECONDS:
                    await self.sweep()
                    swept = time.monotonic()
            except (DatabaseUnavailableError, ObjectStoreUnavailableError) as error:
                log.info("not tidied", extra={"fields": {"cause": str(error)}})
            await asyncio.sleep(ROUND_SECONDS)

    async def tidy(self) -> None:
        """One round. Raises `DatabaseUnavailableError`, `ObjectStoreUnavailableError`."""
        async with self._worker.transaction() as transaction:
            uploads = UploadRepository(transaction)
            await uploads.expire(AT_ONCE)
            await uploads.forget(REMEMBERED_DAYS)
        async with self._worker.transaction() as transaction:
            blobs = BlobRepository(transaction)
            await blobs.drop_orphans(self._grace.orphan_hours, AT_ONCE)
        async with self._worker.transaction() as transaction:
            blobs = BlobRepository(transaction)
            await blobs.drop_unused(self._grace.unused_hours, AT_ONCE)
            garbage = await blobs.garbage(AT_ONCE)
        removed = [
            row["object_key"] for row in garbage
            if await remove(self._store, row["object_key"], row["store_upload"], row["thumbnails"])
        ]  # fmt: skip
        if removed:
            async with self._worker.transaction() as transaction:
                await BlobRepository(transaction).removed(removed)

    async def sweep(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Remove uploads in parts whose row was never committed, and what killed writers left.

        Raises `DatabaseUnavailableError`, `ObjectStoreUnavailableError`.
        """
        inventory = Inventory(self._worker, self._store, grace_seconds)
        await inventory.sweep(await inventory.lost())
