"""One live document: its state, the edits on their way into the log, its members.

Between two group commits the state in memory is exactly what is durable. While a commit is under way, what arrives
waits unapplied, and whoever wants to read waits for the end of it: nobody sees text that could be lost.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from uuid import UUID

import pycrdt

from common.errors import ServiceError

from ..domain import wire
from ..domain.engine import EMPTY_STATE, Applied, Replica, guarded, merged
from ..domain.presence import Entry, write_entries
from ..errors import (
    ActionForbiddenError,
    LineageStaleError,
    LogUnavailableError,
    StateDamagedError,
    UpdateInvalidError,
    UpdateTooLargeError,
)
from .audience import Audience, Listener
from .presence import Presence
from .writer import Writer

T = TypeVar("T")

MAX_STATE_BYTES: Final = 10 * 1024 * 1024
MAX_WAITING_BYTES: Final = 40 * 1024 * 1024
"""Of updates that are not durable yet."""
MEASURED_ANEW: Final = 0.05
"""Growth, as a share of the limit, after which the size of the state is measured and not estimated."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one room puts into a group commit: one update, and those who wrote it."""

    room: "Room"
    payload: bytes
    authors: Sequence[Writer]
    """Who wrote what is in it."""
    writers: Sequence[Writer]
    """Who is to hear that what they wrote is durable."""

    @property
    def document_id(self) -> UUID:
        """The room's document."""
        return self.room.id

    @property
    def lineage(self) -> int:
        """The room's lineage."""
        return self.room.origin.lineage

    @property
    def actors(self) -> list[UUID]:
        """Each author once."""
        return list({writer.user_id: None for writer in self.authors})


@dataclass(eq=False, slots=True)
class _Submission:
    update: bytes
    writer: Writer
    looked: bool = False


@dataclass(slots=True)
class Origin:
    """Where a room comes from: the document's kind and lineage, whose seed is in every copy that was ever in step."""

    document_id: UUID
    workspace_id: UUID
    kind: str
    lineage: int
    seed_client: int
    retired_seeds: frozenset[int] = field(default_factory=frozenset)


class Room:
    """A live document in this process. `changed` is called after each group commit it was part of."""

    def __init__(
        self,
        origin: Origin,
        replica: Replica,
        seq: int,
        mark_dirty: Callable[["Room"], None],
        look: Callable[["Room"], None],
        tell_presence: Callable[["Room"], None],
    ) -> None:
        self.origin = origin
        self.replica = replica
        self.seq = seq
        """All log entries up to this one are in the state."""
        self.presence = Presence()
        self.closed: ServiceError | None = None
        self._ahead: set[int] = set()
        self._mark_dirty = mark_dirty
        self._look = look
        self._tell_presence = tell_presence
        self._inbox: list[_Submission] = []
        self._waiting_bytes = 0
        self.stalled: list[_Submission] = []
        """Updates that lack what another process may have written."""
        self._committing = False
        self._waiting: list[Callable[[], None]] = []
        self._readers: set[asyncio.Future[Any]] = set()
        self.audience = Audience(self._surely_told, self.diff)
        self._before = replica.state_vector
        self._size = self._measured = len(replica.diff())
        self._whole: bytes | None = None
        self._verbatim: bytes | None = None

    @property
    def id(self) -> UUID:
        """The document's id."""
        return self.origin.document_id

    @property
    def busy(self) -> bool:
        """Whether something is on its way."""
        return bool(self._committing or self._inbox or self.stalled or self._waiting)

    @property
    def people(self) -> list[dict[str, Any]]:
        """Everybody here, each person once."""
        found = {member.person["id"]: member.person for member in self.audience.members}
        return [{"document_id": str(self.id), **person} for person in found.values()]

    # Members

    def join(self, member: Listener) -> None:
        """Tell a member what happens from now on. Raises `OverloadedError`, or why the room is closed."""
        if self.closed:
            raise self.closed
        self.audience.add(member)

    def leave(self, member: Listener) -> None:
        """Tell it nothing any more; its clients are gone."""
        self.audience.remove(member)
        if self.presence.leave(member):
            self._tell_presence(self)

    def check_lineage(self, state_vector: bytes) -> None:
        """Raise `LineageStaleError` for a copy of another life of the document, whose text would appear twice."""
        theirs = wire.read_state_vector(state_vector)
        if not self.origin.retired_seeds.isdisjoint(theirs):
            raise LineageStaleError
        # One unknown client may be somebody who typed before the first sync; several are a copy of something else.
        if len(theirs) > 1 and self.origin.seed_client not in theirs:
            ours = wire.read_state_vector(self.replica.state_vector)
            if ours and ours.keys().isdisjoint(theirs):
                raise LineageStaleError

    def when_settled(self, read: Callable[[], None]) -> None:
        """Call now, or as soon as all that is in memory is durable."""
        if self._committing:
            self._waiting.append(read)
        else:
            read()

    async def read(self, question: Callable[[], T]) -> T:
        """Answer to a question about what is durable. Raises what it raises, and why the room was closed."""
        if self.closed:
            raise self.closed
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._readers.add(answer)

        def ask() -> None:
            if answer.done():
                return
            try:
                answer.set_result(question())
            except ServiceError as error:
                answer.set_exception(error)

        self.when_settled(ask)
        try:
            return await answer
        finally:
            self._readers.discard(answer)

    def whole(self) -> bytes:
        """The state for somebody who has nothing; only when settled."""
        if self._verbatim is not None:
            return self._verbatim
        if self._whole is None:
            self._whole = self.replica.diff()
        return self._whole

    def diff(self, state_vector: bytes) -> bytes:
        """What somebody lacks; only when settled. Raises `UpdateInvalidError`."""
        if state_vector == EMPTY_STATE:
            return self.whole()
        if self._verbatim is not None:
            return guarded(pycrdt.get_update, self._verbatim, state_vector)
        return self.replica.diff(state_vector)

    def keep_verbatim(self, updates: Sequence[bytes]) -> None:
        """Answer from what was written, not from what the engine makes of it: the two differ."""
        self._verbatim = merged(updates)

    # Writing

    def submit(self, update: bytes, writer: Writer) -> None:
        """Take an update; the writer hears what became of it."""
        if self.closed:
            writer.refused(self.closed)
            return
        self._waiting_bytes += len(update)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._waiting_bytes -= len(update)
            writer.refused(LogUnavailableError("too much waits to be saved"))
            return
        self._inbox.append(_Submission(update, writer))
        self._mark_dirty(self)

    def _surely_told(self) -> bytes:
        return self._before if self._committing else self.replica.state_vector

    def prepare(self) -> Batch | None:
        """Apply what has arrived and say what is to be written; nothing else is applied until `settle`."""
        if self._committing:  # at the end of the process, say, when somebody commits beside
            self._mark_dirty(self)
            return None
        self._before = self.replica.state_vector
        taken, self._inbox = self._inbox, []
        fresh: list[tuple[bytes, Writer]] = []
        writers: list[Writer] = []
        for one in taken:
            self._waiting_bytes -= len(one.update)
            fresh += self._apply(one, writers)
        if not fresh:
            for writer in writers:
                writer.written()
            return None
        payload = merged([update for update, _ in fresh])
        self._committing = True
        return Batch(self, payload, [writer for _, writer in fresh], writers)

    def _apply(self, one: _Submission, writers: list[Writer]) -> list[tuple[bytes, Writer]]:
        """What is to be written of a submission; its writer is noted if nothing of it is missing then."""
        if not one.writer.may_write:
            one.writer.refused(ActionForbiddenError())
            return []
        try:
            self._check_size(one.update)
            outcome = self.replica.apply(one.update)
        except (UpdateInvalidError, UpdateTooLargeError) as error:
            one.writer.refused(error)
            return []
        if outcome is Applied.LACKS_EARLIER:
            self._stall(one)
            return [(self.replica.taken, one.writer)] if self.replica.taken else []
        writers.append(one.writer)
        return [(one.update, one.writer)] if outcome is Applied.NEW else []

    def _stall(self, one: _Submission) -> None:
        if one.looked:
            one.writer.incomplete(self.replica.state_vector)
        else:  # another process may have what is missing
            self._waiting_bytes += len(one.update)
            self.stalled.append(one)
            self._look(self)

    def _check_size(self, update: bytes) -> None:
        grown = self._size + len(update)
        if grown <= MAX_STATE_BYTES or update[:1] == b"\x00":  # only deletes
            return
        if grown - self._measured > MAX_STATE_BYTES * MEASURED_ANEW:
            self._size = self._measured = len(self.replica.diff())
        if self._size + len(update) > MAX_STATE_BYTES:
            raise UpdateTooLargeError(f"the document's state is limited to {MAX_STATE_BYTES} bytes")

    def settle(self, batch: Batch, seq: int) -> None:
        """The batch is entry `seq` of the log: tell everybody, authors last, then let readers read."""
        self._committing = False
        self._advance(seq)
        self._grow(batch.payload)
        sole = batch.authors[0] if all(one is batch.authors[0] for one in batch.authors) else None
        self.audience.tell(wire.update_message(batch.payload), but=sole)
        for writer in batch.writers:
            writer.written()
        self._let_read()

    def _grow(self, payload: bytes) -> None:
        self._whole = None
        self._size += len(payload)
        if self._verbatim is not None:
            self._verbatim = merged([self._verbatim, payload])

    def _let_read(self) -> None:
        waiting, self._waiting = self._waiting, []
        for read in waiting:
            read()
        self.audience.catch_up_all()

    def fail(self, error: ServiceError) -> None:
        """What is in memory is not what is durable, or nobody may know it any more: everybody has to come again."""
        if self.closed:
            return
        self.closed = error
        for member in self.audience.members:
            member.end(error)
        self._waiting.clear()
        for answer in self._readers:
            if not answer.done():
                answer.set_exception(error)
        for one in (*self._inbox, *self.stalled):
            one.writer.refused(error)
        self._inbox, self.stalled = [], []

    # What other processes wrote

    def hear(self, seq: int, payload: bytes) -> None:
        """Entry `seq` of the log, written elsewhere."""
        if seq <= self.seq or seq in self._ahead:
            return
        try:
            outcome = self.replica.apply(payload)
        except UpdateInvalidError:
            self.fail(StateDamagedError())
            return
        if outcome is Applied.LACKS_EARLIER:
            if seq == self.seq + 1:  # all before it is here
                self.fail(StateDamagedError())
            else:
                self._look(self)
            return
        if outcome is Applied.NEW:
            self._grow(payload)
            self.audience.tell(wire.update_message(payload))
        self._advance(seq)

    def _advance(self, seq: int) -> None:
        if seq <= self.seq:  # read in the log before its commit was answered
            return
        self._ahead.add(seq)
        while self.seq + 1 in self._ahead:
            self.seq += 1
            self._ahead.discard(self.seq)
        if self._ahead:
            self._look(self)

    def read_on(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """Entries behind `seq`, without a gap, as the log has them; what waited for them is tried again."""
        for seq, payload in rows:
            self.hear(seq, payload)
        stalled, self.stalled = self.stalled, []
        for one in stalled:
            one.looked = True
            self._inbox.append(one)
        if stalled:
            self._mark_dirty(self)

    def caught_up(self, member: Listener) -> None:
        """A member that was behind can be written to again."""
        if member in self.audience.lagging:
            self.when_settled(lambda: self.audience.catch_up(member))

    # Presence

    def greet(self, member: Listener) -> None:
        """Tell a member who is here."""
        if everybody := self.presence.everybody():
            member.write(wire.frame(member.prefix + wire.awareness_message(write_entries(everybody))))

    def take_presence(self, member: Listener, user: dict[str, Any], entries: Iterable[Entry]) -> None:
        """A member tells of its clients."""
        if self.presence.take(member, user, entries):
            self._tell_presence(self)

    def tell_presence(self, entries: Sequence[Entry]) -> None:
        """Tell everybody who came, moved or left."""
        if entries:
            self.audience.tell(wire.awareness_message(write_entries(entries)))
