"""All rooms of a process: opened once, kept in step with the log, closed when nobody has been there for a while."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from common.database import DatabaseUnavailableError
from common.errors import ServiceError

from ..domain import wire
from ..domain.engine import Replica
from ..domain.presence import Entry
from ..errors import DocumentNotFoundError, DrainingError, LineageStaleError, ReopenedError
from .commit import GroupCommit
from .fanout import Fanout
from .room import Batch, Origin, Room

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
LOOK_ALONE_SECONDS: Final = 0.2
"""The same while other processes cannot be heard."""
TEND_SECONDS: Final = 1.0
GRACE_SECONDS: Final = 60.0
"""How long an empty room stays."""
BEAT_SECONDS: Final = 20.0
SLOW_SECONDS: Final = 10.0
PRESENCE_SECONDS: Final = 0.05
"""Presence is gathered so long."""
SHOWN_SECONDS: Final = 10.0
LOADS_AT_ONCE: Final = 8


class Opened(NamedTuple):
    """A document as the log has it: its updates in order, a state first."""

    origin: Origin
    seq: int
    updates: Sequence[bytes]
    verbatim: bool = False


class Log(Protocol):
    """Where updates are read and written."""

    async def append(self, written: Sequence[Batch], /) -> dict[UUID, int]:
        """See `commit.Append`."""

    async def since(self, document_id: UUID, lineage: int, seq: int) -> Sequence[tuple[int, bytes]]:
        """Entries behind `seq`."""

    async def heads(self, documents: Collection[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        """`lineage`, `head_seq`, `trashed`, `newest_content`, `content_version` of each."""


class Watcher(Protocol):
    """Who carries what happens in rooms to the versions of documents, and back."""

    def edited(self, room: Room) -> None:
        """Something was written in it."""

    def behind(self, room: Room) -> None:
        """There is a version it does not have."""

    def left(self, room: Room) -> None:
        """The last member has gone."""


class Hall:
    """The rooms of this process. `load` reads a document, and makes it live if it never was."""

    def __init__(
        self,
        load: Callable[[UUID], Awaitable[Opened]],
        log_: Log,
        fanout: Fanout,
        is_draining: Callable[[], bool],
    ) -> None:
        self._load = load
        self._is_draining = is_draining
        self._log = log_
        self._fanout = fanout
        self.commit = GroupCommit(log_.append, self._committed)
        self.watcher: Watcher | None = None
        self.rooms: dict[UUID, Room] = {}
        self._opening: dict[UUID, asyncio.Task[Room]] = {}
        self._heard: dict[UUID, list[tuple[int, int, bytes]]] = {}
        self._looking: dict[Room, asyncio.Task[None]] = {}
        self._presence_due: set[Room] = set()
        self._empty_since: dict[Room, float] = {}
        self._loads = asyncio.Semaphore(LOADS_AT_ONCE)
        self._beat_at = self._shown_at = 0.0
        self._shown: list[dict[str, Any]] = []
        self._look_now = asyncio.Event()

    async def run(self) -> None:
        """Keep rooms in step for the life of the process."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.commit.run())
            tasks.create_task(self._fanout.run(self))
            tasks.create_task(self._keep())
            tasks.create_task(self._tend_all())

    # Opening and closing

    async def room(self, document_id: UUID) -> Room:
        """The document's room, opened if need be; whoever comes meanwhile waits for the same. Raises why it cannot."""
        if self._is_draining():
            raise DrainingError
        if room := self.rooms.get(document_id):
            if not room.closed:
                return room
            self.close(room, room.closed)
        task = self._opening.get(document_id)
        if task is None:
            task = self._opening[document_id] = asyncio.create_task(self._open(document_id))
        return await asyncio.shield(task)

    async def _open(self, document_id: UUID) -> Room:
        self._heard[document_id] = []  # what others write from here on is not in what is read below
        try:
            async with self._loads:
                opened = await self._load(document_id)
                room = Room(
                    opened.origin, Replica(opened.updates), opened.seq, self.commit.mark, self.look, self._note_presence
                )
                if opened.verbatim:
                    room.keep_verbatim(opened.updates)
            for lineage, seq, payload in self._heard[document_id]:
                self._hear(room, lineage, seq, payload)
            self.rooms[document_id] = room
            self._empty_since[room] = time.monotonic()
        finally:
            self._heard.pop(document_id, None)
            self._opening.pop(document_id, None)
        self._fanout.ask_presence(document_id)
        return room

    def close(self, room: Room, error: ServiceError) -> None:
        """End a room; whoever is there has to come again."""
        if room.audience.members:
            log.info("a room was closed", extra={"fields": {"document": str(room.id), "code": error.code}})
        room.fail(error)
        if self.rooms.get(room.id) is room:
            del self.rooms[room.id]
            room.replica.close()
        self._empty_since.pop(room, None)
        self._presence_due.discard(room)

    def reopen(self, document_id: UUID) -> None:
        """Have a document read anew, by whoever comes next."""
        if room := self.rooms.get(document_id):
            room.when_settled(lambda: self.close(room, ReopenedError()))

    def left(self, room: Room) -> None:
        """Somebody left."""
        if room.audience.members or room.closed:
            return
        self._empty_since[room] = time.monotonic()
        if self.watcher:
            self.watcher.left(room)

    # Writing

    def _committed(self, batch: Batch, seq: int) -> None:
        room = batch.room
        self._fanout.tell_update(room.id, room.origin.lineage, seq, batch.payload)
        if self.watcher:
            self.watcher.edited(room)

    def tell_version(self, document_id: UUID) -> None:
        """A version was written elsewhere, as an event told this process."""
        self.hear_version(document_id)
        self._fanout.tell_version(document_id)

    def appended(self, document_id: UUID, lineage: int, seq: int, payload: bytes) -> None:
        """An entry was written past the rooms: a version."""
        self.hear_update(document_id, lineage, seq, payload)
        self._fanout.tell_update(document_id, lineage, seq, payload)

    # Ears

    def hear_update(self, document_id: UUID, lineage: int, seq: int, payload: bytes) -> None:
        """An entry of the log, written by another process; empty if it has to be read."""
        if (waiting := self._heard.get(document_id)) is not None:
            waiting.append((lineage, seq, payload))
        elif room := self.rooms.get(document_id):
            self._hear(room, lineage, seq, payload)

    def _hear(self, room: Room, lineage: int, seq: int, payload: bytes) -> None:
        if lineage > room.origin.lineage:
            self.close(room, LineageStaleError())
        elif not payload:
            if seq > room.seq:
                self.look(room)
        elif lineage == room.origin.lineage:
            room.hear(seq, payload)

    def hear_presence(self, document_id: UUID, entries: Sequence[tuple[Entry, str]]) -> None:
        """Clients of another process."""
        if room := self.rooms.get(document_id):
            room.tell_presence(room.presence.hear(entries))

    def hear_question(self, document_id: UUID) -> None:
        """Another process opened the document."""
        if (room := self.rooms.get(document_id)) and (own := room.presence.own()):
            self._fanout.tell_presence(document_id, own)

    def hear_version(self, document_id: UUID) -> None:
        """There is a version the room may not have."""
        if (room := self.rooms.get(document_id)) and self.watcher:
            self.watcher.behind(room)

    def reconnected(self) -> None:
        """Anything may have been missed."""
        self._look_now.set()
        for room in self.rooms.values():
            self._fanout.ask_presence(room.id)

    async def crowd(self) -> list[dict[str, Any]]:
        """Who is in which document, here and at other processes: `document_id`, `id`, `name`, `edits`."""
        return self._people() + await self._fanout.crowd()

    def _people(self) -> list[dict[str, Any]]:
        return [person for room in self.rooms.values() for person in room.people]

    # Keeping in step

    def look(self, room: Room) -> None:
        """Read on in the log; once at a time."""
        if room not in self._looking and not room.closed:
            task = self._looking[room] = asyncio.create_task(self._read_on(room))
            task.add_done_callback(lambda _: self._looking.pop(room, None))

    async def _read_on(self, room: Room) -> None:
        try:
            rows = await self._log.since(room.id, room.origin.lineage, room.seq)
        except DatabaseUnavailableError as error:
            log.info("the log could not be read", extra={"fields": {"cause": str(error)}})
            return
        if not room.closed:
            room.read_on(rows)
        if room.closed:  # by something in the log that cannot be read, say
            self.close(room, room.closed)

    async def _keep(self) -> None:
        while True:
            seconds = LOOK_SECONDS if self._fanout.listening else LOOK_ALONE_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), seconds)
            self._look_now.clear()
            try:
                await self._check_heads()
            except DatabaseUnavailableError as error:
                log.info("heads not looked at", extra={"fields": {"cause": str(error)}})

    async def _tend_all(self) -> None:
        """What needs no database, so that it does not wait for one."""
        while True:
            await asyncio.sleep(TEND_SECONDS)
            self._tend(time.monotonic())
            await self._show(time.monotonic())

    async def _check_heads(self) -> None:
        if not self.rooms:
            return
        asked = list(self.rooms.values())
        heads = await self._log.heads([room.id for room in asked])
        for room in asked:  # and no room that was opened meanwhile
            if self.rooms.get(room.id) is room:
                self._check(room, heads.get(room.id))

    def _check(self, room: Room, head: Mapping[str, Any] | None) -> None:
        if head is None or head["trashed"]:
            self.close(room, DocumentNotFoundError())
        elif head["lineage"] != room.origin.lineage:
            self.close(room, LineageStaleError())
        else:
            if head["head_seq"] > room.seq or room.stalled:
                self.look(room)
            if head["newest_content"] > head["content_version"] and self.watcher:
                self.watcher.behind(room)

    async def _show(self, now: float) -> None:
        people = self._people()
        if people != self._shown or now - self._shown_at > SHOWN_SECONDS:
            self._shown, self._shown_at = people, now
            await self._fanout.show(people)

    def _tend(self, now: float) -> None:
        beat = now - self._beat_at >= BEAT_SECONDS
        if beat:
            self._beat_at = now
        for room in list(self.rooms.values()):
            if room.closed:
                self.close(room, room.closed)
                continue
            room.audience.end_laggards(now - SLOW_SECONDS)
            room.tell_presence(room.presence.expire())
            if beat:
                room.audience.tell(wire.NO_AWARENESS)
                if own := room.presence.own():  # what is not renewed is forgotten elsewhere
                    self._fanout.tell_presence(room.id, own)
            if not room.audience.members and not room.busy and self._empty_since.get(room, now) < now - GRACE_SECONDS:
                self.close(room, DrainingError())

    # Presence

    def _note_presence(self, room: Room) -> None:
        if room not in self._presence_due:
            self._presence_due.add(room)
            asyncio.get_running_loop().call_later(PRESENCE_SECONDS, self._tell_presence, room)

    def _tell_presence(self, room: Room) -> None:
        self._presence_due.discard(room)
        if room.closed:
            return
        news = room.presence.news()
        room.tell_presence([entry for entry, _ in news])
        if news:
            self._fanout.tell_presence(room.id, news)
