"""Everybody who is told what happens in a room; who reads slowly delays nobody and is told the rest at once later."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final, Protocol

from common.errors import ServiceError

from ..domain import wire
from ..errors import OverloadedError, SlowReaderError

MAX_MEMBERS: Final = 500


class Listener(Protocol):
    """Somebody who is told what happens in the room."""

    prefix: bytes
    """What its protocol puts before each message."""

    def write(self, frames: bytes) -> None:
        """Send whole WebSocket frames."""

    @property
    def person(self) -> dict[str, Any]:
        """Who it is: `id`, `name`, `edits`."""

    @property
    def behind(self) -> bool:
        """Whether it does not read as fast as it is written to."""

    def end(self, error: ServiceError) -> None:
        """The room has no place for it any more."""


class Audience:
    """Members by their protocol. `told` is the state vector all of them have surely been told of."""

    def __init__(self, told: Callable[[], bytes], diff: Callable[[bytes], bytes]) -> None:
        self._told = told
        self._diff = diff
        self._members: dict[bytes, set[Listener]] = defaultdict(set)
        self.lagging: dict[Listener, tuple[bytes, float]] = {}
        """Who is written nothing more, what they were told of, and since when (monotonic seconds)."""

    @property
    def members(self) -> list[Listener]:
        """Everybody here."""
        return [member for found in self._members.values() for member in found]

    def add(self, member: Listener) -> None:
        """Tell a member what happens from now on. Raises `OverloadedError`."""
        if sum(map(len, self._members.values())) >= MAX_MEMBERS:
            raise OverloadedError(f"{MAX_MEMBERS} clients are in this document")
        self._members[member.prefix].add(member)

    def remove(self, member: Listener) -> None:
        """Tell it nothing any more."""
        self._members[member.prefix].discard(member)
        if not self._members[member.prefix]:
            del self._members[member.prefix]
        self.lagging.pop(member, None)

    def tell(self, message: bytes, but: object = None) -> None:
        """Send a message to all members; framed once for all who speak the same protocol."""
        for prefix, members in self._members.items():
            frames = wire.frame(prefix + message)
            for member in members:
                if member is not but and member not in self.lagging:
                    self._write(member, frames)

    def _write(self, member: Listener, frames: bytes) -> None:
        member.write(frames)
        if member.behind:
            self.lagging[member] = self._told(), time.monotonic()

    def catch_up(self, member: Listener) -> None:
        """Tell a member that lagged, and reads again, all it has missed; only when what is here is durable."""
        if member in self.lagging and not member.behind:
            told, _ = self.lagging.pop(member)
            self._write(member, wire.frame(member.prefix + wire.update_message(self._diff(told))))

    def catch_up_all(self) -> None:
        """The same for all who read again."""
        for member in list(self.lagging):
            self.catch_up(member)

    def end_laggards(self, before: float) -> None:
        """End members that have not read since then (monotonic seconds); they come again and are told the rest."""
        for member in [one for one, (_, since) in self.lagging.items() if since < before]:
            member.end(SlowReaderError())
