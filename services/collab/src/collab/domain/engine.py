"""The CRDT engine (pycrdt, yrs) behind guards: a panic is an error like others, nothing waits for what is missing.

yrs keeps an update whose predecessors are missing "pending", may never apply it, and drops it from what it encodes
(y-crdt#582). So an update that lacks something is not let in: its sender is asked for all.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from typing import Any, Final, TypeVar

import pycrdt
from pycrdt import Doc

from ..errors import FrameInvalidError, StateDamagedError, UpdateInvalidError
from .wire import deletions_within, read_state_vector

T = TypeVar("T")

NOTHING: Final = b"\x00\x00"
"""An update without content; also what a peer with an empty document is told of one."""
EMPTY_STATE: Final = b"\x00"
FAN_IN: Final = 64
"""`merge_updates` is quadratic in the number of updates, so many are merged as a tree."""


class Applied(Enum):
    """What an update did."""

    NEW = auto()
    NOTHING_NEW = auto()
    LACKS_EARLIER = auto()
    """Part of it builds on what is not here; what does not was taken in (`Replica.taken`)."""


def guarded(function: Callable[..., T], *arguments: object) -> T:
    """Result of an engine call. Raises `UpdateInvalidError` whatever it raises: a panic is a BaseException."""
    try:
        return function(*arguments)
    except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
        raise
    except BaseException as error:
        raise UpdateInvalidError from error


def merged(updates: Sequence[bytes]) -> bytes:
    """One update for several, in their order; it does not compact them. Raises `UpdateInvalidError`."""
    level = list(updates)
    while len(level) > 1:
        level = [
            guarded(pycrdt.merge_updates, *level[at : at + FAN_IN]) if at + 1 < len(level) else level[at]
            for at in range(0, len(level), FAN_IN)
        ]
    return level[0] if level else NOTHING


def check_update(update: bytes) -> None:
    """Raise `UpdateInvalidError` unless it can be read at all."""
    guarded(pycrdt.get_state, update)


def lacks(update: bytes, state_vector: bytes) -> bool:
    """Whether part of an update is not in a state: structs, or deletions of what is not there."""
    rest = guarded(pycrdt.get_update, update, state_vector)
    if rest == NOTHING:
        return False
    if rest[0]:
        return True
    try:
        return not deletions_within(rest, read_state_vector(state_vector))
    except FrameInvalidError as error:
        raise UpdateInvalidError from error


def roots_of(update: bytes) -> set[str]:
    """Names of the shared types an update writes at the top of. Raises `UpdateInvalidError`."""
    doc: Doc[Any] = Doc()
    guarded(doc.apply_update, update)
    return set(doc.keys())


class Replica:
    """A document's state in memory. Its calls must stay in one thread."""

    def __init__(self, updates: Iterable[bytes] = ()) -> None:
        """Raises `StateDamagedError` unless `updates`, in order, are complete."""
        self.taken: bytes | None = None
        """Of the last update that lacked something: what was taken in all the same, as an update."""
        self._open()
        for update in updates:
            try:
                if self.apply(update) is Applied.LACKS_EARLIER:
                    raise StateDamagedError("an update lacks what came before it")
            except UpdateInvalidError as error:
                raise StateDamagedError("an update cannot be read") from error

    def _open(self) -> None:
        self._changed = False
        self._doc: Doc[Any] = Doc()
        self._subscription = self._doc.observe(self._note)

    def _note(self, _event: object) -> None:  # the event must not be kept: it points into the transaction
        self._changed = True

    def close(self) -> None:
        """Let go: an observed Doc is never freed."""
        self._doc.unobserve(self._subscription)

    @property
    def state_vector(self) -> bytes:
        """What it has."""
        return self._doc.get_state()

    def diff(self, state_vector: bytes = EMPTY_STATE) -> bytes:
        """An update with all that somebody lacks. Raises `UpdateInvalidError` for what is no state vector."""
        return guarded(self._doc.get_update, state_vector)

    def apply(self, update: bytes) -> Applied:
        """Take an update in; of one that lacks something, `taken` is what could be. Raises `UpdateInvalidError`."""
        self._changed = False
        before = self._doc.get_state()
        try:
            guarded(self._doc.apply_update, update)
            if lacks(update, self._doc.get_state()):
                self._recover()
                self.taken = guarded(self._doc.get_update, before) if self._changed else None
                return Applied.LACKS_EARLIER
        except UpdateInvalidError:
            self._recover()
            raise
        return Applied.NEW if self._changed else Applied.NOTHING_NEW

    def brings(self, update: bytes) -> bool:
        """Whether it has anything that is not here; deletions of what is here count as known. Changes nothing."""
        return lacks(update, self._doc.get_state())

    def _recover(self) -> None:
        """Forget what is pending: what the engine encodes does not have it."""
        changed, whole = self._changed, guarded(self._doc.get_update)
        self.close()
        self._open()
        guarded(self._doc.apply_update, whole)
        self._changed = changed
