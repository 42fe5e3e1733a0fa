"""People who type into live documents while everything is being killed: what they saw, and what they were promised.

Each types words that exist once. A word is promised when the server acknowledged it (Hocuspocus), or when somebody who
can only read has seen it. A typist who crashes forgets everything; only the server has its words then.
"""

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from pycrdt import Doc, Text

from collab.domain import wire
from collab.domain.tickets import Ticket

PAUSE_SECONDS = (0.05, 0.15)
AGAIN_SECONDS = (0.1, 0.5)
CONNECT_SECONDS = 10.0


@dataclass
class Place:
    """Where live documents are: replicas' sockets, and who may open what."""

    urls: Sequence[str]
    key: bytes

    def ticket(self, user_id: Any, document_id: Any) -> str:
        """A ticket as collab would give."""
        return Ticket(user_id, user_id, document_id, int(time.time())).token(self.key)


@dataclass
class Promises:
    """Words of one document."""

    typed: set[str] = field(default_factory=set)
    promised: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    """Typed by somebody who crashed: there once or not at all, unless they were promised."""
    crashes: int = 0
    closes: Counter[int | None] = field(default_factory=Counter)
    """Close codes of connections that ended."""


class Client:
    """One client of one document, by y-websocket's protocol or Hocuspocus'."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        place: Place,
        document_id: Any,
        user_id: Any,
        promises: Promises,
        dice: random.Random,
        *,
        hocuspocus: bool,
    ) -> None:
        self._session = session
        self._place = place
        self._document_id = document_id
        self._user_id = user_id
        self._promises = promises
        self._dice = dice
        self._prefix = wire.sized(str(document_id).encode()) if hocuspocus else b""
        self._unacknowledged: list[set[str]] = []
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._applying = False
        self.synced = self.finished = False
        self.doc: Doc[Any] = Doc()
        self._born()

    def _born(self) -> None:
        self.doc = Doc()
        self._subscription = self.doc.observe(self._changed)
        self._fresh: set[str] = set()
        self.mine: set[str] = set()

    @property
    def text(self) -> Text:
        text: Text = self.doc.get("content", type=Text)
        return text

    @property
    def says(self) -> str:
        return str(self.text)

    def crash(self) -> None:
        """Forget everything."""
        self._promises.crashes += 1
        self._promises.forgotten |= self.mine
        self.doc.unobserve(self._subscription)
        self._born()

    def type(self, word: str) -> None:
        """Put a word somewhere, between others."""
        words = self.says.split(" ")
        before = " ".join(words[: self._dice.randrange(len(words))])
        at = len(before.encode()) + (1 if before else 0)
        self._promises.typed.add(word)
        self.mine.add(word)
        self._fresh = {word}
        self.text.insert(at, word + " ")

    def _changed(self, event: Any) -> None:
        if not self._applying and self._socket is not None:
            self._send(wire.update_message(event.update), self._fresh)

    def _send(self, message: bytes, words: set[str] | None = None) -> None:
        if words is not None:
            self._unacknowledged.append(set(words))
        self._outgoing.put_nowait(self._prefix + message)

    async def stay(self, over: asyncio.Event, until: Callable[[], bool]) -> None:
        """Be connected until it is over and `until` says so; to any replica, again after each break."""
        while not self.finished:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                await self._visit(over, until)
            self._socket = None
            self.synced = self.synced and self.finished
            if not over.is_set() and self._dice.random() < self.crashiness:
                self.crash()
            await asyncio.sleep(self._dice.uniform(*AGAIN_SECONDS))

    crashiness = 0.0

    async def _visit(self, over: asyncio.Event, until: Callable[[], bool]) -> None:
        base = self._dice.choice(list(self._place.urls))
        ticket = self._place.ticket(self._user_id, self._document_id)
        path = "/v1/collab/hocuspocus" if self._prefix else f"/v1/collab/ws/{self._document_id}?ticket={ticket}"
        async with asyncio.timeout(5):
            socket = await self._session.ws_connect(base + path, max_msg_size=0)
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._unacknowledged = []
        writing = asyncio.create_task(self._write(socket))
        watching = asyncio.create_task(self._watch(socket, over, until))
        try:
            if self._prefix:
                self._send(b"\x02\x00" + wire.sized(ticket.encode()))
            else:
                self._socket = socket
                self._send(wire.state_vector_message(self.doc.get_state()))
            async for message in socket:
                self._take(message.data, socket)
        finally:
            self._socket = None
            writing.cancel()
            watching.cancel()
            await asyncio.gather(writing, watching, return_exceptions=True)
            await socket.close()
            self._promises.closes[socket.close_code] += 1

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await socket.send_bytes(await self._outgoing.get())

    async def _watch(
        self, socket: aiohttp.ClientWebSocketResponse, over: asyncio.Event, until: Callable[[], bool]
    ) -> None:
        """End when it is over; a line on which nothing comes is none."""
        begun = time.monotonic()
        while not (over.is_set() and until()):
            await asyncio.sleep(0.1)
            if not self.synced and time.monotonic() - begun > CONNECT_SECONDS:
                break
        else:
            self.finished = True
        await socket.close()

    def _take(self, data: Any, socket: aiohttp.ClientWebSocketResponse) -> None:
        if not isinstance(data, bytes) or not data.startswith(self._prefix):
            return
        data = data[len(self._prefix) :]
        if data[:2] == b"\x02\x02":  # authenticated
            self._socket = socket
            self._send(wire.state_vector_message(self.doc.get_state()))
        elif data[0] == wire.Hocuspocus.SYNC_STATUS and self._prefix:
            words = self._unacknowledged.pop(0)
            if data[1] == 1:
                self._promises.promised |= words
        elif data[0] == wire.Kind.SYNC:
            self._sync(wire.read_message(data))

    def _sync(self, message: wire.Message) -> None:
        if message.step == wire.Step.STATE_VECTOR:
            self._send(wire.diff_message(self.doc.get_update(message.payload)), self.mine)
            return
        self._applying = True
        try:
            self.doc.apply_update(message.payload)
        finally:
            self._applying = False
        self.synced = self.synced or message.step == wire.Step.DIFF
        self.saw()

    def saw(self) -> None:
        """Something arrived."""


class Typist(Client):
    """Types words while it is connected; crashes after some of the breaks."""

    crashiness = 0.4
    _names = itertools.count(1)

    async def work(self, over: asyncio.Event, until: Callable[[], bool]) -> None:
        """Type until it is over, then stay until `until` says so."""
        name, typing = next(self._names), asyncio.create_task(self._type(over))
        self._name = name
        await self.stay(over, until)
        await typing

    async def _type(self, over: asyncio.Event) -> None:
        for number in itertools.count():
            await asyncio.sleep(self._dice.uniform(*PAUSE_SECONDS))
            if over.is_set():
                return
            if self.synced:
                self.type(f"<{self._name}.{number}>")


class Watcher(Client):
    """May only read: what it has seen was broadcast, and it cannot give it back."""

    def saw(self) -> None:
        """Remember."""
        self._promises.promised |= set(self.says.split())

    async def work(self, over: asyncio.Event, until: Callable[[], bool]) -> None:
        """Watch."""
        await self.stay(over, until)
