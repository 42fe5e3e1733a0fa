"""One client of the load: joins with real frames, then only notes when which marker arrived."""

import asyncio
import base64
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

from deploy.bench.collab.wire import Framing, frame, unframed
from deploy.local.machine import LOOPBACK

MARKER = re.compile(rb"~([0-9a-f]{8});")
"""Text of one edit: whoever has it anywhere in his bytes has that edit, merged or not."""
MARKER_SIZE = 10
MEMO_FROM = 256
MEMO_MOST = 4096
JOIN_SECONDS = 60.0
AT_ONCE = 200
"""Connections that may be on their way at the same time."""
PONG = 10


@dataclass(frozen=True)
class Door:
    """Where a document is reached."""

    port: int
    path: str
    document: str
    token: str = "bench"
    """For framings that authenticate inside."""


@dataclass
class Arrivals:
    """What clients note while edits are measured, shared by all clients of a run; equal bytes are searched once."""

    memo: dict[bytes, list[bytes]] = field(default_factory=dict)
    count: int = 0

    def markers(self, data: bytes) -> list[bytes]:
        """The markers in there."""
        if len(data) < MEMO_FROM:
            found = MARKER.findall(data)
        elif (known := self.memo.get(data)) is not None:
            found = known
        else:
            if len(self.memo) > MEMO_MOST:
                self.memo.clear()
            found = self.memo[data] = MARKER.findall(data)
        self.count += len(found)
        return found


class Client(asyncio.Protocol):
    """A connection to one document."""

    def __init__(self, door: Door, framing: Framing, *, keep: bool = False) -> None:
        self.door = door
        self.synced: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.updates: list[bytes] = []
        """What the server sent, if kept."""
        self.log: list[tuple[float, list[bytes]]] = []
        self.ended = ""
        """Why the connection is gone, if it is."""
        self._framing = framing
        self._keep = keep
        self._buffer = b""
        self._upgraded = False
        self._arrivals: Arrivals | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def write(self) -> Callable[[bytes], None]:
        """The transport's own function."""
        assert self._transport is not None
        return self._transport.write

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not of that class
        lines = (
            f"GET {self.door.path} HTTP/1.1",
            f"Host: {LOOPBACK}:{self.door.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
        )
        self.write("\r\n".join((*lines, "", "")).encode())

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = self.ended or f"lost {error or ''}"
        if not self.synced.done():
            self.synced.set_exception(ConnectionError(f"{self.door.document}: {self.ended}"))

    def data_received(self, data: bytes) -> None:
        arrivals = self._arrivals
        if arrivals is not None:
            now = perf_counter()
            if self._buffer:
                data, self._buffer = self._buffer + data, b""
            if found := arrivals.markers(data):
                self.log.append((now, found))
            if (at := data.rfind(b"~", -MARKER_SIZE + 1)) >= 0 and b";" not in data[at:]:
                self._buffer = data[at:]
            return
        self._buffer += data
        if self._upgraded or self._upgrade():
            self._walk()

    def send(self, payload: bytes) -> None:
        """Send a message. Raises `ConnectionError` if the connection is gone."""
        if self.ended:
            raise ConnectionError(f"{self.door.document}: {self.ended}")
        self.write(frame(payload))

    def listen(self, arrivals: Arrivals) -> None:
        """From now on only look for markers; nothing is answered any more, so not for longer than pings allow."""
        self._buffer = b""
        self._arrivals = arrivals

    def close(self) -> None:
        if self._transport is not None:
            self.ended = self.ended or "closed"
            self._transport.abort()

    def _upgrade(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        if b" 101 " not in head[:16]:
            self.ended = f"refused: {head.splitlines()[0].decode()}"
            self.close()
            return False
        self._upgraded, self._buffer = True, rest
        self.write(frame(self._framing.opening(self.door.document, self.door.token)))
        return True

    def _walk(self) -> None:
        data, at = self._buffer, 0
        while (got := unframed(data, at)) is not None:
            first, payload, at = got
            match first & 15:
                case 2:
                    self._take(payload)
                case 9:
                    self.write(frame(payload, PONG))
                case 8:
                    self.ended = f"closed by the server: {int.from_bytes(payload[:2], 'big')} {payload[2:]!r}"
                    self.close()
                case _:
                    pass
        self._buffer = data[at:]

    def _take(self, payload: bytes) -> None:
        document, framing = self.door.document, self._framing
        message = framing.read(payload)
        match message.kind:
            case "authenticated":
                self.write(frame(framing.asking(document)))
            case "step1":
                self.write(frame(framing.answering(document)))
            case "step2" | "update":
                if self._keep:
                    self.updates.append(message.body)
                if message.kind == "step2" and not self.synced.done():
                    self.synced.set_result(perf_counter())
            case "ping":
                self.write(frame(message.body))
            case "denied":
                self.ended = f"denied: {message.body!r}"
                self.close()
            case _:
                pass


async def join(doors: Sequence[Door], framing: Framing, *, keep: bool = False, together: bool = False) -> list[Client]:
    """Clients that are synced; one of each document comes first (pycrdt-websocket hangs when two do) or all together.

    Raises `ConnectionError` if one is refused, `TimeoutError` after a minute.
    """
    gate = asyncio.Semaphore(AT_ONCE)
    loop = asyncio.get_running_loop()
    clients = [Client(door, framing, keep=keep) for door in doors]
    first = {} if together else {client.door.document: client for client in reversed(clients)}
    others = [client for client in clients if first.get(client.door.document) is not client]

    async def one(client: Client) -> None:
        async with gate:
            await loop.create_connection(lambda: client, LOOPBACK, client.door.port)
            await client.synced

    try:
        async with asyncio.timeout(JOIN_SECONDS):
            await asyncio.gather(*(one(client) for client in first.values()))
            await asyncio.gather(*(one(client) for client in others))
    except BaseException:
        leave(clients)
        raise
    return clients


def leave(clients: Sequence[Client]) -> None:
    """Close them."""
    for client in clients:
        client.close()
