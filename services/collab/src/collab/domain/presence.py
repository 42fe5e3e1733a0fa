"""Awareness (y-protocols `awareness.js`): who is here, as the clients say it and the server signs it."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import orjson

from ..errors import FrameInvalidError
from .wire import read_sized, read_uint, sized, uint

MAX_STATE_BYTES: Final = 8192
MAX_ENTRIES: Final = 64
GONE: Final = b"null"


class Entry(NamedTuple):
    """One client's state at a clock: JSON, `null` when it has left."""

    client: int
    clock: int
    state: bytes


def read_entries(data: bytes) -> list[Entry]:
    """Entries of an awareness update. Raises `FrameInvalidError`, also for too many or too large ones."""
    count, at = read_uint(data, 0)
    if count > MAX_ENTRIES:
        raise FrameInvalidError("presence of too many clients at once")
    entries = []
    for _ in range(count):
        client, at = read_uint(data, at)
        clock, at = read_uint(data, at)
        state, at = read_sized(data, at)
        if len(state) > MAX_STATE_BYTES:
            raise FrameInvalidError(f"a presence state is larger than {MAX_STATE_BYTES} bytes")
        entries.append(Entry(client, clock, state))
    if at != len(data):
        raise FrameInvalidError("something follows the presence states")
    return entries


def write_entries(entries: Iterable[Entry]) -> bytes:
    """An awareness update."""
    parts = [uint(entry.client) + uint(entry.clock) + sized(entry.state) for entry in entries]
    return uint(len(parts)) + b"".join(parts)


def signed(state: bytes, user: dict[str, Any]) -> bytes:
    """A client's state with the server's word for who it is: `user.id` and `user.name`; the rest of it stays.

    Raises `FrameInvalidError` for what is neither an object nor null.
    """
    try:
        value = orjson.loads(state)
    except orjson.JSONDecodeError as error:
        raise FrameInvalidError("a presence state is not JSON") from error
    if value is None:
        return GONE
    if not isinstance(value, dict):
        raise FrameInvalidError("a presence state is not an object")
    said = value.get("user")
    try:
        return orjson.dumps({**value, "user": {**(said if isinstance(said, dict) else {}), **user}})
    except TypeError as error:
        raise FrameInvalidError("a presence state is nested too deep") from error
