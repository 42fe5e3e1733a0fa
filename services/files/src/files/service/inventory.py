"""Compares the object store with the tables, while uploads, examinations and deletions go on."""

import hashlib
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final

from common.database import Database, Row
from common.objects import FileStore, FolderStore, ObjectMissingError, Stored, Unfinished

from .. import domain
from ..repository import InventoryRepository

PREFIX: Final = "files/"
GRACE_SECONDS: Final = 3600.0
"""What is younger may be in progress: nobody writes that long without writing anything, no request takes that long."""
AT_ONCE: Final = 10_000
OBJECT, UPLOAD, DRAFT = "object without a row", "parts without an upload", "draft left behind"


@dataclass(frozen=True, order=True, slots=True)
class Difference:
    """Something the store and the tables do not agree about."""

    kind: str
    name: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.name} {self.detail}".rstrip()


@dataclass(slots=True)
class _Stock:
    """What should be there, what may be, and which uploads may have parts."""

    sizes: dict[str, int] = field(default_factory=dict)
    thumbnails: set[str] = field(default_factory=set)
    tolerated: set[str] = field(default_factory=set)
    parts: set[tuple[str, str]] = field(default_factory=set)
    awaited: list[tuple[str, str]] = field(default_factory=list)


class Inventory:
    """One comparison: reads only, but for `sweep`."""

    def __init__(self, worker: Database, store: FileStore, grace_seconds: float = GRACE_SECONDS) -> None:
        self._worker = worker
        self._store = store
        self._grace_seconds = grace_seconds
        self.in_progress = 0
        """Objects and uploads without a row that are younger than the grace, after `differences`."""

    async def differences(self, *, hashed: bool = False) -> list[Difference]:
        """What differs; with `hashed` every object is read. Raises `ObjectStoreUnavailableError`.

        Store and tables cannot be seen at one moment, so what differs only at the first of two looks does not count.
        """
        found = await self._look()
        if found:
            found &= await self._look()
        if hashed:
            found |= {difference async for difference in self._other_bytes()}
        return sorted(found)

    async def sweep(self, differences: Iterable[Difference]) -> int:
        """Remove those that nothing refers to; how many that were."""
        removed = 0
        for one in differences:
            if one.kind == OBJECT:
                await self._store.delete(one.name)
            elif one.kind == UPLOAD:
                await self._store.abort(one.name, one.detail)
            elif one.kind != DRAFT:
                continue
            removed += 1
        if isinstance(self._store, FolderStore):
            await self._store.sweep(self._grace_seconds)
        return removed

    async def lost(self) -> set[Difference]:
        """Uploads whose row was never committed."""
        unfinished = [one async for one in self._store.unfinished(PREFIX)]
        return self._lost(unfinished, (await self._rows()).parts)

    async def _look(self) -> set[Difference]:
        self.in_progress = 0
        stored = {one.key: one async for one in self._store.listed(PREFIX)}
        unfinished = [one async for one in self._store.unfinished(PREFIX)]
        stock = await self._rows()
        async for blobs in self._blobs():
            for row in blobs:
                _expect(stock, row)
        return {
            *self._orphans(stored.values(), stock),
            *self._lost(unfinished, stock.parts),
            *_missing(stock, stored),
            *_without_parts(stock, stored, unfinished),
            *await self._drafts(),
            *await self._sums(),
        }

    async def _rows(self) -> _Stock:
        """What is on its way, in or out."""
        stock = _Stock()
        async with self._worker.transaction() as transaction:
            repository = InventoryRepository(transaction)
            uploads, garbage = await repository.uploads(), await repository.garbage()
        for row in uploads:
            stock.tolerated.add(row["object_key"])
            if row["store_upload"]:
                stock.awaited.append((row["object_key"], row["store_upload"]))
        stock.parts |= set(stock.awaited)
        for row in garbage:
            stock.tolerated |= {row["object_key"], *_thumbnails(row)}
            stock.parts.add((row["object_key"], row["store_upload"] or ""))
        return stock

    async def _blobs(self) -> AsyncIterator[list[Row]]:
        last = None
        while True:
            async with self._worker.transaction() as transaction:
                rows = await InventoryRepository(transaction).blobs(last, AT_ONCE)
            if not rows:
                return
            yield rows
            last = rows[-1]

    def _orphans(self, stored: Iterable[Stored], stock: _Stock) -> Iterable[Difference]:
        known = stock.sizes.keys() | stock.thumbnails | stock.tolerated
        for one in stored:
            if one.key not in known and self._is_old(one.modified):
                yield Difference(OBJECT, one.key, f"({one.size} bytes)")

    def _lost(self, unfinished: Iterable[Unfinished], parts: set[tuple[str, str]]) -> set[Difference]:
        lost = [one for one in unfinished if (one.key, one.upload) not in parts]
        return {Difference(UPLOAD, one.key, one.upload) for one in lost if self._is_old(one.begun)}

    def _is_old(self, since: float) -> bool:
        old = since <= time.time() - self._grace_seconds
        self.in_progress += not old
        return old

    async def _drafts(self) -> list[Difference]:
        if not isinstance(self._store, FolderStore):
            return []
        return [Difference(DRAFT, name) for name in await self._store.left_behind(self._grace_seconds)]

    async def _sums(self) -> list[Difference]:
        async with self._worker.transaction() as transaction:
            repository = InventoryRepository(transaction)
            quotas, marks = await repository.wrong_quotas(), await repository.wrong_marks()
        found = [Difference("wrong mark of use", row["object_key"], f"({row['unused_at']})") for row in marks]
        for row in quotas:
            counted = (("used", row["used"], row["stored"]), ("reserved", row["reserved"], row["awaited"]))
            found += [
                Difference("wrong quota", str(row["workspace_id"]), f"{name} is {noted}, rows say {true}")
                for name, noted, true in counted
                if noted != true
            ]
        return found

    async def _other_bytes(self) -> AsyncIterator[Difference]:
        async for blobs in self._blobs():
            for row in blobs:
                digest = hashlib.sha256()
                try:
                    async for chunk in self._store.read(row["object_key"]):
                        digest.update(chunk)
                except ObjectMissingError:  # a look says so, unless it was removed meanwhile
                    continue
                if digest.digest() != bytes(row["sha256"]):
                    yield Difference("other bytes", row["object_key"], f"SHA-256 is {digest.hexdigest()}")


def _expect(stock: _Stock, row: Row) -> None:
    stock.sizes[row["object_key"]] = row["size"]
    stock.thumbnails |= set(_thumbnails(row))
    if row["due"]:
        stock.tolerated |= {domain.thumbnail_key(row["object_key"], pixels) for pixels in domain.THUMBNAIL_PIXELS}


def _thumbnails(row: Row) -> list[str]:
    return [domain.thumbnail_key(row["object_key"], pixels) for pixels in row["thumbnails"]]


def _missing(stock: _Stock, stored: dict[str, Stored]) -> Iterable[Difference]:
    for key, size in stock.sizes.items():
        if key not in stored:
            yield Difference("row without an object", key, f"({size} bytes)")
        elif stored[key].size != size:
            yield Difference("other size", key, f"{stored[key].size} bytes, {size} expected")
    for key in stock.thumbnails - stored.keys():
        yield Difference("row without an object", key)


def _without_parts(stock: _Stock, stored: dict[str, Stored], unfinished: Iterable[Unfinished]) -> Iterable[Difference]:
    """Nobody could go on with these; one whose object is there was put together by a completion that was cut off."""
    there = {(one.key, one.upload) for one in unfinished}
    for key, upload in stock.awaited:
        if (key, upload) not in there and key not in stored:
            yield Difference("upload without its parts", key, upload)
