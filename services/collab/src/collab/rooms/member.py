"""A person at a socket in a room: what a client may say, and what becomes of it. One for both protocols."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from common.errors import ServiceError

from ..domain import wire
from ..domain.engine import roots_of
from ..domain.presence import read_entries, write_entries
from ..errors import (
    ActionForbiddenError,
    FrameInvalidError,
    KindMismatchError,
    UpdateTooLargeError,
)
from .room import Room
from .sockets import CHARGED_BYTES, Socket

INCOMPLETE_COST: Final = 50
"""In messages: what lacks something is costly to find out."""
KIND_CHECKS: Final = 3
"""Updates of a client that are looked at for where they write."""
ROOTS: Final = {"prosemirror": "default", "text": "content"}
MAX_MESSAGE_BYTES: Final = 1024 * 1024
MAX_DIFF_BYTES: Final = 16 * 1024 * 1024
"""Of the answer to our state vector, which may hold weeks of offline work."""


@dataclass(eq=False, slots=True)
class Guest:
    """Who somebody is and what they may do here; `edits` changes with their role."""

    user_id: UUID
    name: str
    edits: bool

    @property
    def presence(self) -> dict[str, Any]:
        """What others are told of them."""
        return {"id": str(self.user_id), "name": self.name}


class Member:
    """A y-websocket client; a Hocuspocus client is the same behind `prefix`, and hears of its writes (`heard`)."""

    def __init__(
        self,
        socket: Socket,
        room: Room,
        guest: Guest,
        *,
        prefix: bytes = b"",
        heard: Callable[[bool], None] | None = None,
        end: Callable[[ServiceError], None] | None = None,
    ) -> None:
        self.user_id = guest.user_id
        self.prefix = prefix
        self.guest = guest
        self.room = room
        self._socket = socket
        self._greeted = False
        self._told_denied = False
        self._kind_checks = KIND_CHECKS
        self._asks = 0
        self._put_aside = 0
        self._wants: bytes | None = None
        self._heard = heard
        self._end = end or socket.end_with

    # What the room wants of a listener and of a writer

    def write(self, frames: bytes) -> None:
        """Send whole frames."""
        self._socket.write(frames)

    @property
    def person(self) -> dict[str, Any]:
        """Who it is."""
        return {**self.guest.presence, "edits": self.guest.edits}

    @property
    def behind(self) -> bool:
        """Whether more waits for it than may."""
        return self._socket.full

    def end(self, error: ServiceError) -> None:
        """It has to leave."""
        self._end(error)

    @property
    def may_write(self) -> bool:
        """As of now."""
        return self.guest.edits

    def written(self) -> None:
        """What it wrote is durable."""
        if self._heard:
            self._heard(True)

    def refused(self, error: ServiceError) -> None:
        """What it wrote was not taken."""
        if isinstance(error, ActionForbiddenError):
            self._deny()
        else:
            self.end(error)

    def incomplete(self, state_vector: bytes) -> None:
        """Ask for everything that is missing here; what was sent, and what is sent until then, comes with it."""
        self._socket.charge(INCOMPLETE_COST)
        self._put_aside += 1
        self._asks += 1
        self.send(wire.state_vector_message(state_vector))

    def send(self, message: bytes) -> None:
        """One message in one frame."""
        self._socket.write(wire.frame(self.prefix + message))

    # What the client says

    def enter(self) -> None:
        """Join, and say what is here. Raises `OverloadedError`."""
        self.room.join(self)
        self.room.when_settled(self._welcome)

    def _welcome(self) -> None:
        self._asks += 1
        self.send(wire.state_vector_message(self.room.replica.state_vector))
        self.room.greet(self)

    def receive(self, data: bytes) -> None:
        """Whatever its client sends; nonsense ends it, and nothing else."""
        try:
            self.hear(wire.read_message(data))
        except ServiceError as error:
            self.end(error)

    def hear(self, message: wire.Message) -> None:
        """A message. Raises `FrameInvalidError`, `UpdateTooLargeError`, `LineageStaleError`."""
        if message.kind == wire.Kind.SYNC:
            if message.step == wire.Step.STATE_VECTOR:
                self._answer(message.payload)
            else:
                self._write(message)
        elif message.kind == wire.Kind.AWARENESS:
            self.room.take_presence(self, self.guest.presence, read_entries(message.payload))
        else:
            self._tell_presence()

    def _tell_presence(self) -> None:
        """Who is here; not to somebody who has not read what was sent before."""
        if not self.behind and (everybody := self.room.presence.everybody()):
            answer = wire.awareness_message(write_entries(everybody))
            self._socket.charge(len(answer) // CHARGED_BYTES)
            self.send(answer)

    def _answer(self, state_vector: bytes) -> None:
        if len(state_vector) > MAX_MESSAGE_BYTES:
            raise UpdateTooLargeError("the state vector is too large")
        self.room.check_lineage(state_vector)
        self._greeted = True
        waits, self._wants = self._wants is not None, state_vector
        if not waits:
            self.room.when_settled(self._tell)

    def _tell(self) -> None:
        """Answer the last question, once its asker reads."""
        if self._wants is None or self.behind:
            return
        state_vector, self._wants = self._wants, None
        try:
            answer = wire.diff_message(self.room.diff(state_vector))
        except ServiceError as error:
            self.end(error)
            return
        self._socket.charge(len(answer) // CHARGED_BYTES)
        self.send(answer)

    def drained(self) -> None:
        """It reads again."""
        self.room.caught_up(self)
        if self._wants is not None:
            self.room.when_settled(self._tell)

    def _write(self, message: wire.Message) -> None:
        answers = message.step == wire.Step.DIFF and self._asks > 0
        limit = MAX_DIFF_BYTES if answers and self.may_write else MAX_MESSAGE_BYTES
        if len(message.payload) > limit:
            raise UpdateTooLargeError(f"a message is limited to {limit} bytes")
        if not self._greeted:
            raise FrameInvalidError("say what you have first: a state vector")
        self._asks -= answers
        if self.may_write:
            self._check_kind(message.payload)
            self._submit(message.payload, answers=answers)
        elif message.step == wire.Step.UPDATE or self.room.replica.brings(message.payload):
            self._deny()
        else:
            self.written()

    def _submit(self, update: bytes, *, answers: bool) -> None:
        if self._put_aside and not answers:
            self._put_aside += 1  # the answer it owes has this in it
            return
        aside, self._put_aside = self._put_aside, 0
        self.room.submit(update, _Answer(self, aside) if aside else self)

    def _check_kind(self, update: bytes) -> None:
        """An editor of the other kind would write where nobody looks; it shows with the first it writes."""
        if self._kind_checks:
            self._kind_checks -= 1
            other = ROOTS.keys() - {self.room.origin.kind}
            if not roots_of(update).isdisjoint(ROOTS[kind] for kind in other):
                raise KindMismatchError(f"the document is of kind {self.room.origin.kind}")

    def _deny(self) -> None:
        """Not taken; said once, since what was typed stays on its screen."""
        if self._heard:
            self._heard(False)
        elif not self._told_denied:
            self._told_denied = True
            self.send(wire.denied_message("read-only"))

    def leave(self) -> None:
        """It is gone."""
        self.room.leave(self)


class _Answer:
    """Everything a member has, in answer to a question; with it, what was put aside until then is durable."""

    def __init__(self, member: Member, aside: int) -> None:
        self.user_id = member.user_id
        self._member = member
        self._aside = aside

    @property
    def may_write(self) -> bool:
        """As of now."""
        return self._member.may_write

    def written(self) -> None:
        """Durable, with all that was put aside."""
        for _ in range(self._aside + 1):
            self._member.written()

    def refused(self, error: ServiceError) -> None:
        """Not taken."""
        self._member.refused(error)

    def incomplete(self, state_vector: bytes) -> None:
        """Still not all."""
        self._member.incomplete(state_vector)
