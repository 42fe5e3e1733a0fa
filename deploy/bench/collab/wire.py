"""Bytes on the wire: masked WebSocket frames, and the two framings of the Yjs protocol on top of them."""

import os
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["step1", "step2", "update", "authenticated", "denied", "ping", "other"]

NOTHING = b"\x00\x00"
"""Both an empty state vector's length-prefixed wrapping and an update without structs and deletions."""


@dataclass(frozen=True)
class Message:
    """What a message says, with the update or reason it carries."""

    kind: Kind
    body: bytes = b""


class Framing(Protocol):
    """How a protocol wraps sync messages of a document."""

    name: str

    def opening(self, document: str, token: str) -> bytes:
        """The first message of a client that knows nothing."""

    def asking(self, document: str) -> bytes:
        """SyncStep1 of a client that has nothing."""

    def answering(self, document: str) -> bytes:
        """SyncStep2 of a client that has nothing."""

    def update(self, document: str, update: bytes) -> bytes:
        """An edit."""

    def read(self, payload: bytes) -> Message:
        """A message of the server."""


class YWebsocket:
    """One document for each socket; the message begins with its type."""

    name = "y-websocket"

    def opening(self, document: str, token: str) -> bytes:
        return self.asking(document)

    def asking(self, document: str) -> bytes:
        return b"\x00\x00" + sized(b"\x00")

    def answering(self, document: str) -> bytes:
        return b"\x00\x01" + sized(NOTHING)

    def update(self, document: str, update: bytes) -> bytes:
        return b"\x00\x02" + sized(update)

    def read(self, payload: bytes) -> Message:
        return _sync(payload[1:]) if payload[0] == 0 else Message("other")


class Hocuspocus:
    """Many documents for each socket: every message names its own, and the first authenticates."""

    name = "hocuspocus"

    def opening(self, document: str, token: str) -> bytes:
        return sized(document.encode()) + b"\x02\x00" + sized(token.encode()) + sized(b"4.8.0")

    def asking(self, document: str) -> bytes:
        return sized(document.encode()) + b"\x00\x00" + sized(b"\x00")

    def answering(self, document: str) -> bytes:
        return sized(document.encode()) + b"\x00\x01" + sized(NOTHING)

    def update(self, document: str, update: bytes) -> bytes:
        return sized(document.encode()) + b"\x00\x02" + sized(update)

    def read(self, payload: bytes) -> Message:
        if payload == b"\x09":
            return Message("ping", b"\x0a")
        length, at = number(payload, 0)
        at += length
        match payload[at]:
            case 0 | 4:
                return _sync(payload[at + 1 :])
            case 2:
                return Message("authenticated" if payload[at + 1] == 2 else "denied", payload[at + 2 :])
            case _:
                return Message("other")


def _sync(payload: bytes) -> Message:
    kinds: tuple[Kind, ...] = ("step1", "step2", "update")
    length, at = number(payload, 1)
    return Message(kinds[payload[0]], payload[at : at + length])


def sized(data: bytes) -> bytes:
    """With its length before it (lib0 varUint)."""
    return varint(len(data)) + data


def varint(value: int) -> bytes:
    """lib0 varUint."""
    made = bytearray()
    while value > 127:
        made.append(128 | (value & 127))
        value >>= 7
    made.append(value)
    return bytes(made)


def number(data: bytes, at: int) -> tuple[int, int]:
    """The lib0 varUint there, and the place after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def frame(payload: bytes, opcode: int = 2) -> bytes:
    """A client's frame (RFC 6455 5.2), masked."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    key = os.urandom(4)
    mask = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return head + key + (int.from_bytes(payload, "big") ^ mask).to_bytes(size, "big")


def unframed(data: bytes, at: int) -> tuple[int, bytes, int] | None:
    """Opcode and payload of the server's frame there and the place after it; None if it is not complete yet."""
    if len(data) < at + 2:
        return None
    size, start = data[at + 1], at + 2
    if size > 125:
        wide = 2 if size == 126 else 8
        if len(data) < start + wide:
            return None
        size, start = int.from_bytes(data[start : start + wide], "big"), start + wide
    if len(data) < start + size:
        return None
    return data[at], data[start : start + size], start + size
