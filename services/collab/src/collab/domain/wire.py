"""The wire format of y-protocols over lib0 varints, and RFC 6455 frames made once for everybody.

Hocuspocus puts the document's name before the same messages, so both protocols share all of this.
"""

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from ..errors import FrameInvalidError

SEVEN_BITS: Final = 0x7F
MAX_SHIFT: Final = 56
MAX_UINT: Final = 2**53
"""Yjs' client ids and clocks are JavaScript integers."""


class Kind(IntEnum):
    """First number of a message (y-protocols; Hocuspocus `MessageType` has the same first four)."""

    SYNC = 0
    AWARENESS = 1
    AUTH = 2
    QUERY_AWARENESS = 3


class Step(IntEnum):
    """Second number of a sync message."""

    STATE_VECTOR = 0
    DIFF = 1
    UPDATE = 2


class Message(NamedTuple):
    """One message; `step` only of sync messages."""

    kind: int
    step: int
    payload: bytes


def uint(value: int) -> bytes:
    """A lib0 varUint: 7 bits a byte, least significant first."""
    if value <= SEVEN_BITS:
        return bytes((value,))
    out = bytearray()
    while value > SEVEN_BITS:
        out.append(0x80 | value & SEVEN_BITS)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_uint(data: bytes, at: int) -> tuple[int, int]:
    """A varUint at an offset and the offset behind it. Raises `FrameInvalidError`."""
    value = shift = 0
    try:
        while True:
            byte = data[at]
            at += 1
            value |= (byte & SEVEN_BITS) << shift
            if byte <= SEVEN_BITS:
                break
            shift += 7
            if shift > MAX_SHIFT:
                raise FrameInvalidError("a number is too long")
    except IndexError:
        raise FrameInvalidError("the message ends too early") from None
    if value > MAX_UINT:
        raise FrameInvalidError("a number is too large")
    return value, at


def sized(data: bytes) -> bytes:
    """A lib0 varUint8Array or varString: its length in bytes, then the bytes."""
    return uint(len(data)) + data


def read_sized(data: bytes, at: int) -> tuple[bytes, int]:
    """Bytes with their length before them, and the offset behind. Raises `FrameInvalidError`."""
    length, at = read_uint(data, at)
    if at + length > len(data):
        raise FrameInvalidError("the message ends too early")
    return data[at : at + length], at + length


def read_message(data: bytes, at: int = 0) -> Message:
    """The one message of a frame. Raises `FrameInvalidError` for anything else, also for something behind it."""
    kind, at = read_uint(data, at)
    step = 0
    if kind == Kind.SYNC:
        step, at = read_uint(data, at)
        if step > Step.UPDATE:
            raise FrameInvalidError("unknown sync message")
    elif kind == Kind.QUERY_AWARENESS:
        payload = b""
        if at != len(data):
            raise FrameInvalidError("something follows the message")
        return Message(kind, step, payload)
    elif kind != Kind.AWARENESS:
        raise FrameInvalidError("unknown message")
    payload, at = read_sized(data, at)
    if at != len(data):
        raise FrameInvalidError("something follows the message")
    return Message(kind, step, payload)


def state_vector_message(state_vector: bytes) -> bytes:
    """SyncStep1: "this is what I have"."""
    return b"\x00\x00" + sized(state_vector)


def diff_message(update: bytes) -> bytes:
    """SyncStep2: "this is what you lack"."""
    return b"\x00\x01" + sized(update)


def update_message(update: bytes) -> bytes:
    """An update as it happened."""
    return b"\x00\x02" + sized(update)


def awareness_message(entries: bytes) -> bytes:
    """Presence of some clients."""
    return b"\x01" + sized(entries)


class Hocuspocus(IntEnum):
    """Message types of Hocuspocus 2 to 4 beside those of `Kind` (its `types.ts`)."""

    AUTH = 2
    SYNC_REPLY = 4
    STATELESS = 5
    CLOSE = 7
    SYNC_STATUS = 8


PING: Final = b"\x09"
PONG: Final = b"\x0a"
"""Hocuspocus' own: without a document's name."""


def token_wanted_message() -> bytes:
    """Hocuspocus auth: "send your token"."""
    return b"\x02\x00"


def permission_denied_message(reason: str) -> bytes:
    """Hocuspocus auth: no."""
    return b"\x02\x01" + sized(reason.encode())


def authenticated_message(scope: str) -> bytes:
    """Hocuspocus auth: yes, `readonly` or `read-write`."""
    return b"\x02\x02" + sized(scope.encode())


def sync_status_message(durable: bool) -> bytes:
    """Hocuspocus: what became of one update or diff."""
    return b"\x08\x01" if durable else b"\x08\x00"


def close_message(reason: str) -> bytes:
    """Hocuspocus: this document is over, the socket is not."""
    return b"\x07" + sized(reason.encode())


NO_AWARENESS: Final = awareness_message(b"\x00")
"""Tells nothing, and a y-websocket client that the line still works: it hangs up after 30 s without a message."""


def denied_message(reason: str) -> bytes:
    """y-protocols auth: permission denied."""
    return b"\x02\x00" + sized(reason.encode())


def read_state_vector(data: bytes) -> dict[int, int]:
    """Client id -> clock of a state vector. Raises `FrameInvalidError`."""
    count, at = read_uint(data, 0)
    vector: dict[int, int] = {}
    for _ in range(count):
        client, at = read_uint(data, at)
        vector[client], at = read_uint(data, at)
    if at != len(data):
        raise FrameInvalidError("something follows the state vector")
    return vector


def deletions_within(update: bytes, vector: Mapping[int, int]) -> bool:
    """Whether an update without structs only deletes what a state vector covers. Raises `FrameInvalidError`."""
    clients, at = read_uint(update, 1)
    for _ in range(clients):
        client, at = read_uint(update, at)
        ranges, at = read_uint(update, at)
        known = vector.get(client, 0)
        for _ in range(ranges):
            clock, at = read_uint(update, at)
            length, at = read_uint(update, at)
            if clock + length > known:
                return False
    return True


_SHORT: Final = 126
_LONG: Final = 65_536


def frame(message: bytes) -> bytes:
    """A whole unmasked binary frame (RFC 6455 section 5.2): the same bytes for every client."""
    length = len(message)
    if length < _SHORT:
        return bytes((0x82, length)) + message
    if length < _LONG:
        return struct.pack(">BBH", 0x82, _SHORT, length) + message
    return struct.pack(">BBQ", 0x82, 127, length) + message
