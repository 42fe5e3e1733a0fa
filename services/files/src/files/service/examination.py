"""What happens to bytes after they are kept: scanned, examined in a cage, then given out or rejected."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from common.database import Database, DatabaseUnavailableError, Row
from common.errors import ServiceError
from common.objects import FileStore, FolderStore

from .. import domain
from ..processing.facts import Facts
from ..processing.scanner import Scanner, TooLargeToScanError
from ..processing.workshop import Workshop
from ..repository import BlobRepository
from .leases import LEASE_SECONDS, renewed

log = logging.getLogger(__name__)

AT_ONCE: Final = 4
POLL_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 15
ATTEMPTS: Final = 5
"""After which what cannot be examined is given out without facts, unless it has to be scanned."""
EXAMINED_BYTES: Final = 256 * domain.MIB
"""Larger files are scanned, but have neither preview nor text."""
REJECTED: Final = frozenset(("image_too_large",))
"""What would harm whoever only looks at it."""


class Examiner:
    """Takes what is due, some at once, for the life of the process."""

    def __init__(self, worker: Database, store: FileStore, workshop: Workshop, scanner: Scanner | None) -> None:
        self._worker = worker
        self._store = store
        self._workshop = workshop
        self._scanner = scanner
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        """There is something to examine."""
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wanted.clear()
            if not await self._round():
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._wanted.wait()

    async def _round(self) -> int:
        try:
            async with self._worker.transaction() as transaction:
                rows = await BlobRepository(transaction).due(AT_ONCE, LEASE_SECONDS)
        except DatabaseUnavailableError:
            return 0
        await asyncio.gather(*(self._examine(row) for row in rows))
        return len(rows)

    async def _examine(self, row: Row) -> None:
        try:
            async with renewed(lambda: self._renew(row)):
                found = await self._scan(row)
                facts = await self._facts(row) if found is None else None
            await self._keep(row, found, facts)
        except (ServiceError, OSError) as error:  # also of a store that is lost under an open file, and a full disk
            log.warning("not examined", extra={"fields": {"cause": str(error), "object": row["object_key"]}})
            await self._put_off(row)

    async def _renew(self, row: Row) -> None:
        async with self._worker.transaction() as transaction:
            await BlobRepository(transaction).renew(row, LEASE_SECONDS)

    async def _put_off(self, row: Row) -> None:
        try:
            async with self._worker.transaction() as transaction:
                await BlobRepository(transaction).put_off(row, AGAIN_SECONDS * row["attempts"])
        except DatabaseUnavailableError:  # the lease runs out
            return

    async def _scan(self, row: Row) -> str | None:
        """Why the bytes are harmful, None if they are not, as far as anybody looks."""
        if self._scanner is None:
            return None
        try:
            found = await self._scanner.scan(self._store.read(row["object_key"]))
        except TooLargeToScanError:
            return "too_large_to_scan"
        return found and f"malware: {found}"

    async def _facts(self, row: Row) -> Facts:
        if row["size"] > EXAMINED_BYTES or row["attempts"] > ATTEMPTS:
            return Facts(row["media_type"])
        async with self._local(row) as path:
            return await self._workshop.process(path, row["media_type"], row["name"] or "")

    @asynccontextmanager
    async def _local(self, row: Row) -> AsyncIterator[Path]:
        """The bytes as a file, for a while."""
        if isinstance(self._store, FolderStore):
            yield self._store.path(row["object_key"])
            return
        with tempfile.NamedTemporaryFile(prefix="mdc-files-") as file:
            async for chunk in self._store.read(row["object_key"]):
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(file.flush)
            yield Path(file.name)

    async def _keep(self, row: Row, found: str | None, facts: Facts | None) -> None:
        problem = found or (facts and facts.problem)
        rejected = found is not None or problem in REJECTED
        thumbnails = {} if rejected or facts is None else facts.thumbnails
        for pixels, image in thumbnails.items():
            await self._store.put(domain.thumbnail_key(row["object_key"], pixels), image)
        columns: dict[str, Any] = {
            "state": "rejected" if rejected else "ready", "problem": problem and str(problem),
            "media_type": facts.media_type if facts else row["media_type"], "thumbnails": sorted(thumbnails),
            **{name: facts and getattr(facts, name) for name in ("width", "height", "pages", "tokens")},
        }  # fmt: skip
        pages = [] if rejected or not facts or not facts.text else facts.text
        async with self._worker.transaction() as transaction:
            await BlobRepository(transaction).examined(
                row, columns, [{"number": page.number, "text": page.text, "tokens": page.tokens} for page in pages]
            )
