"""Carries live edits into versions of documents, and versions written elsewhere into live documents.

Versions are applied in their order, each once: as the difference to the text of the last one the live document
contains (its mark), made on the state that said exactly that text, so that what was typed since is merged by the CRDT
and nothing is said twice. An export is compare-and-set on that version and never merged by documents.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from common.client import InternalClient, PeerNotFoundError
from common.database import Database, Row
from common.errors import UnavailableError
from common.identifiers import uuid7

from ..domain import states
from ..domain.engine import NOTHING
from ..repository import LiveRepository, LogRepository, mark_of
from ..rooms import Hall, Room
from .workshop import Workshop

log = logging.getLogger(__name__)

QUIET_SECONDS: Final = 2.0
"""After the last edit a version is written,"""
LONGEST_SECONDS: Final = 10.0
"""and while edits go on, so often."""
TICK_SECONDS: Final = 0.1
SWEEP_SECONDS: Final = 15.0
LEASE_SECONDS: Final = 10.0
"""Should it take longer, somebody else may begin too: each step is compare-and-set, so that only costs work."""
BUSY_SECONDS: Final = 0.5
FAILED_SECONDS: Final = (2.0, 60.0)
ALARMING: Final = 5
AT_ONCE: Final = 4
TRIES: Final = 8
HOLD_AFTER: Final = 3
"""Exports that others were faster than, after which they are asked to wait a moment."""
HOLD_SECONDS: Final = 1.0
CALL_SECONDS: Final = 20.0
COMPACT_ENTRIES: Final = 200


class DocumentGoneError(Exception):
    """Documents knows it no more."""


class LeaseLostError(UnavailableError):
    """It took too long, and somebody else began."""

    code = "lease_lost"


class _Due:
    """When a document is to be carried: soon after its last edit, and not too long after its first."""

    def __init__(self, now: float) -> None:
        self.first = self.last = now
        self.at = now + QUIET_SECONDS
        self.failures = 0

    def edited(self, now: float) -> None:
        self.last = now
        self.at = max(min(now + QUIET_SECONDS, self.first + LONGEST_SECONDS), self.at if self.failures else 0.0)


class Versions:
    """The carrier of this process; a document is carried by one process at a time."""

    def __init__(
        self, hall: Hall, database: Database, log_: LogRepository, client: InternalClient, workshop: Workshop
    ) -> None:
        self._hall = hall
        self._database = database
        self._log = log_
        self._client = client
        self._workshop = workshop
        self._due: dict[UUID, _Due] = {}
        self._behind: set[UUID] = set()
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._free = asyncio.Semaphore(AT_ONCE)

    # What rooms tell

    def edited(self, room: Room) -> None:
        """Something was written in it."""
        now = time.monotonic()
        if due := self._due.get(room.id):
            due.edited(now)
        else:
            self._due[room.id] = _Due(now)

    def behind(self, room: Room) -> None:
        """There is a version it does not have; what is typed goes on becoming a version in its own time."""
        self._behind.add(room.id)

    def left(self, room: Room) -> None:
        """The last member has gone: what is there becomes a version now."""
        if room.id in self._due:
            self._soon(room.id)

    def _soon(self, document_id: UUID) -> None:
        due = self._due.setdefault(document_id, _Due(time.monotonic()))
        if not due.failures:
            due.at = 0.0

    # When

    async def run(self) -> None:
        """Carry what is due, for the life of the process; look for what another process left."""
        swept = time.monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            if now - swept > SWEEP_SECONDS:
                swept = now
                await self._sweep()
            for document_id, due in list(self._due.items()):
                if due.at <= now and document_id not in self._running:
                    self._start(document_id, self._carry_due(document_id, due))
            for document_id in self._behind - self._running.keys():
                self._start(document_id, self._catch_up(document_id))

    def _start(self, document_id: UUID, work: Coroutine[Any, Any, None]) -> None:
        task = self._running[document_id] = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._running.pop(document_id, None))

    async def _catch_up(self, document_id: UUID) -> None:
        self._behind.discard(document_id)
        try:
            async with self._free:
                await self.carry(document_id, export=False)
        except UnavailableError as error:  # heads are looked at every second: it will be behind again
            log.info("a version was not applied yet", extra={"fields": {"cause": error.code}})
        except Exception:
            log.exception("a version could not be applied", extra={"fields": {"document": str(document_id)}})

    async def finish(self, seconds: float) -> None:
        """Carry everything that waits, before the process ends."""
        for document_id, due in list(self._due.items()):
            if document_id not in self._running:
                self._start(document_id, self._carry_due(document_id, due))
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=seconds)

    async def _sweep(self) -> None:
        try:
            async with self._database.transaction() as transaction:
                found = await LiveRepository(transaction).unexported(SWEEP_SECONDS, AT_ONCE * 8)
        except UnavailableError as error:
            log.info("documents without a version not looked for", extra={"fields": {"cause": error.code}})
            return
        for document_id in found:
            self._soon(document_id)

    async def _carry_due(self, document_id: UUID, due: _Due) -> None:
        edited = due.last
        try:
            async with self._free:
                done = await self.carry(document_id)
        except UnavailableError as error:
            self._put_off(document_id, due, error.code)
        except Exception as error:
            log.exception("a live document could not be carried", extra={"fields": {"document": str(document_id)}})
            self._put_off(document_id, due, repr(error))
        else:
            due.failures = 0
            if not done:
                due.at = time.monotonic() + BUSY_SECONDS
            elif due.last == edited:
                del self._due[document_id]
            else:
                due.first = due.last
                due.edited(due.last)

    @staticmethod
    def _put_off(document_id: UUID, due: _Due, cause: str) -> None:
        due.failures += 1
        seconds = min(FAILED_SECONDS[0] * 2**due.failures, FAILED_SECONDS[1])
        due.at = time.monotonic() + seconds
        fields = {"document": str(document_id), "cause": cause, "failures": due.failures}
        level = logging.ERROR if due.failures > ALARMING else logging.WARNING
        log.log(level, "a live document was not carried", extra={"fields": fields})

    # What

    async def carry(self, document_id: UUID, *, export: bool = True) -> bool:
        """Bring a live document and its versions together; False if somebody is at it already.

        Without `export`, only the versions into the document.

        Raises `PeerUnavailableError`, `DatabaseUnavailableError`, `WorkshopUnavailableError`.
        """
        holder = uuid7()
        async with self._database.transaction() as transaction:
            row = await LiveRepository(transaction).lease(document_id, holder, LEASE_SECONDS)
        if row is None:
            return False
        try:
            row = await self._take_in(row)
            if export and not await self._export_all(row):
                return False
            if export:
                await self._compact(await self._again(row))
        except DocumentGoneError:
            log.warning("a live document has no document any more", extra={"fields": {"document": str(document_id)}})
        finally:
            async with self._database.transaction() as transaction:
                await LiveRepository(transaction).release(document_id, holder)
        return True

    async def _export_all(self, row: Row) -> bool:
        """Export, until nobody else was faster; False if somebody always was."""
        for attempt in range(TRIES):
            if await self._export(row):
                return True
            if attempt >= HOLD_AFTER - 1:
                await self._client.post("documents", f"{_path(row)}/hold", {"seconds": HOLD_SECONDS})
            row = await self._take_in(await self._again(row))
        return False

    async def _again(self, row: Row) -> Row:
        """The document as it is by now. Raises `LeaseLostError`."""
        async with self._database.transaction() as transaction:
            found = await LiveRepository(transaction).lease(row["id"], row["lease"], LEASE_SECONDS)
        if found is None:
            raise LeaseLostError
        return found

    # Versions into the live document

    async def _take_in(self, row: Row) -> Row:
        """Apply what was written elsewhere since the mark, in order; own exports only move it."""
        after = {"after": str(row["content_version"])}
        try:
            answer = await self._client.get("documents", f"{_path(row)}/versions", after)
        except PeerNotFoundError as error:
            raise DocumentGoneError from error
        versions: Sequence[Mapping[str, Any]] = answer["versions"]
        while versions:
            if _is_own(versions[0], row):
                await self._own(row, versions[0]["n"], versions[0]["seq"])
                versions = versions[1:]
            else:
                await self._apply(row, versions)
                versions = ()
            row = await self._again(row)
        return row

    async def _apply(self, row: Row, versions: Sequence[Mapping[str, Any]]) -> None:
        """Apply the newest of some versions; those before it are in it."""
        newest = versions[-1]
        old, new = await self._text(row, row["content_version"]), await self._text(row, newest["n"])
        mark = mark_of(row)
        updates = [mark] if mark else (await self._log.updates(row["id"], row["lineage"], row["exported_seq"]))[1]
        update, state = await self._workshop.run(states.rewrite, row["kind"], updates, old, new)
        actors = {UUID(actor) for version in versions for actor in version["contributors"]}
        async with self._database.transaction() as transaction:
            live = LiveRepository(transaction)
            if update == NOTHING:
                await live.skip(row, newest["n"])
                return
            seq = await live.append_version(row, newest["n"], sorted(actors), update, state)
        if seq is not None:
            self._hall.appended(row["id"], row["lineage"], seq, update)

    # Live edits into a version

    async def _export(self, row: Row) -> bool:
        """Write a version of all there is; False if somebody else wrote one first."""
        seq, updates = await self._log.updates(row["id"], row["lineage"])
        authors = await self._log.authors(row["id"], row["lineage"], row["exported_seq"], seq)
        if not authors:
            return True
        base = row["content_version"]
        source = await self._text(row, base)
        text = await self._workshop.run(states.export, row["kind"], updates, source)
        if text == source:
            await self._mark(row, base, seq)
            return True
        body = {
            "base": base, "lineage": row["lineage"], "seq": seq, "content": text,
            "content_hash": hashlib.sha256(text.encode()).hexdigest(), "author_id": str(authors[0]),
            "contributors": [str(author) for author in authors],
        }  # fmt: skip
        answer = await self._client.post("documents", f"{_path(row)}/export", body, seconds=CALL_SECONDS)
        if answer["saved"]:
            await self._mark(row, answer["content_version"], seq)
        return bool(answer["saved"])

    async def _compact(self, row: Row) -> None:
        """One state for many entries, up to the mark: what is behind it may be needed to make the mark's state."""
        seq = row["exported_seq"]
        if row["verbatim"] or seq - row["snapshot_seq"] < COMPACT_ENTRIES:
            return
        _, updates = await self._log.updates(row["id"], row["lineage"], seq)
        state = await self._workshop.run(states.compact, row["kind"], updates)
        async with self._database.transaction() as transaction:
            live = LiveRepository(transaction)
            if state is not None:
                await live.keep_snapshot(row, seq, state)
                return
            await live.keep_verbatim(row)
        log.error("a document is not encoded as it was told", extra={"fields": {"document": str(row["id"])}})
        self._hall.reopen(row["id"])

    async def _own(self, row: Row, content_version: int, seq: int) -> None:
        """An export of ours whose answer was lost; its text is in the log, at `seq` or behind what was compacted."""
        async with self._database.transaction() as transaction:
            live = LiveRepository(transaction)
            if not await live.mark(row, content_version, seq):
                await live.skip(row, content_version)

    async def _mark(self, row: Row, content_version: int, seq: int) -> None:
        async with self._database.transaction() as transaction:
            await LiveRepository(transaction).mark(row, content_version, seq)

    async def _text(self, row: Row, version: int) -> str:
        answer = await self._client.get("documents", f"{_path(row)}/versions/{version}/text")
        return str(answer["content"])


def _path(row: Row) -> str:
    return f"/internal/documents/{row['id']}"


def _is_own(version: Mapping[str, Any], row: Row) -> bool:
    return bool(version["origin"] == "live" and version["lineage"] == row["lineage"])
