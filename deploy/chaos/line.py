"""A TCP line that can be cut (reset) or go dead (half-open): neither end hears of the other again, or of its end."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

from deploy.local.machine import LOOPBACK, free_ports


@dataclass(eq=False)
class _Pair:
    """Both ends of one connection."""

    ends: list["_End"] = field(default_factory=list)
    dead: bool = False
    early: bytearray = field(default_factory=bytearray)
    """What the caller sent before the target was reached."""


class _End(asyncio.Protocol):
    """What arrives here leaves at the other end."""

    def __init__(self, line: "Line", pair: _Pair) -> None:
        self._line = line
        self._pair = pair
        self.transport: asyncio.Transport | None = None
        pair.ends.append(self)

    @property
    def other(self) -> asyncio.Transport | None:
        return next((end.transport for end in self._pair.ends if end is not self), None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        if len(self._pair.ends) == 1:
            self._line.accepted(self._pair)
        else:
            self.transport.write(self._pair.early)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._pair.early += data
        elif not self._pair.dead:
            self.other.write(data)

    def pause_writing(self) -> None:
        if self.other:
            self.other.pause_reading()

    def resume_writing(self) -> None:
        if self.other:
            self.other.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._pair.dead:
            self._line.forget(self._pair)
            if self.other:
                self.other.close()


class Line:
    """All connections to one port on this machine pass here; `port` is where to dial instead."""

    def __init__(self, target: int) -> None:
        self.port = free_ports(1)[0]
        self._target = target
        self._pairs: set[_Pair] = set()
        self._dialling: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begin to take connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(self, _Pair()), LOOPBACK, self.port)

    def close(self) -> None:
        """Take no more connections and end all."""
        if self._server:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection, dead ones too."""
        for pair in list(self._pairs):
            self.forget(pair)
            for end in pair.ends:
                if end.transport:
                    end.transport.abort()

    def go_dead(self) -> None:
        """Half-open from now on: what is sent on the present connections vanishes, and nobody hears of an end."""
        for pair in self._pairs:
            pair.dead = True

    def accepted(self, pair: _Pair) -> None:
        """Somebody dialled: reach through to the target."""
        self._pairs.add(pair)
        task = asyncio.create_task(self._dial(pair))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    def forget(self, pair: _Pair) -> None:
        """The connection has ended."""
        self._pairs.discard(pair)

    async def _dial(self, pair: _Pair) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _End(self, pair), LOOPBACK, self._target)
        except OSError:
            self.forget(pair)
            if caller := pair.ends[0].transport:
                caller.abort()
