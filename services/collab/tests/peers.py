"""A y-websocket client by hand: every frame it sends and gets can be looked at."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from pycrdt import Doc, Text

from collab.domain import wire


class ClosedError(Exception):
    """The server closed the socket."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Peer:
    """One client with its own document; `update` is sent for every change of it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, doc: Doc[Any] | None = None) -> None:
        self.socket = socket
        self.doc: Doc[Any] = doc or Doc()
        self.frames: list[bytes] = []
        self.closed: ClosedError | None = None
        self.synced = asyncio.Event()
        self.changed = asyncio.Event()
        self._applying = self.left = False
        self._subscription = self.doc.observe(self._note)
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]

    @property
    def text(self) -> Text:
        return self.doc.get("content", type=Text)

    def _note(self, event: Any) -> None:
        if not self._applying:
            self._outgoing.put_nowait(wire.update_message(event.update))

    def say(self, message: bytes) -> None:
        """Send a message."""
        self._outgoing.put_nowait(message)

    def greet(self) -> None:
        """SyncStep1."""
        self.say(wire.state_vector_message(self.doc.get_state()))

    async def _write(self) -> None:
        while True:
            await self.socket.send_bytes(await self._outgoing.get())

    async def _read(self) -> None:
        async for message in self.socket:
            self.frames.append(message.data)
            self._take(message.data)
            self.changed.set()
        self.closed = ClosedError(self.socket.close_code, "")
        self.changed.set()

    def _take(self, data: bytes) -> None:
        if data[0] != wire.Kind.SYNC:
            return
        message = wire.read_message(data)
        if message.step == wire.Step.STATE_VECTOR:
            self.say(wire.diff_message(self.doc.get_update(message.payload)))
            return
        self._applying = True
        try:
            self.doc.apply_update(message.payload)
        finally:
            self._applying = False
        if message.step == wire.Step.DIFF:
            self.synced.set()

    async def until(self, condition: Any, seconds: float = 15.0) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(seconds):
            while not condition():
                if self.closed:
                    raise self.closed
                self.changed.clear()
                await self.changed.wait()

    async def until_says(self, text: str, seconds: float = 15.0) -> None:
        """Wait until the text is this."""
        try:
            await self.until(lambda: str(self.text) == text, seconds)
        except TimeoutError:
            raise AssertionError(f"{str(self.text)!r} is not {text!r}") from None

    async def until_closed(self, seconds: float = 15.0) -> int | None:
        """The close code."""
        async with asyncio.timeout(seconds):
            while not self.closed:
                self.changed.clear()
                await self.changed.wait()
        return self.closed.code

    def messages(self, kind: int) -> list[bytes]:
        """Frames of one kind."""
        return [frame for frame in self.frames if frame[0] == kind]

    async def leave(self) -> None:
        """Close the socket."""
        if self.left:
            return
        self.left = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.doc.unobserve(self._subscription)
        await self.socket.close()


class Desk:
    """Opens documents for people."""

    def __init__(self, fleet: Any, session: aiohttp.ClientSession) -> None:
        self._fleet = fleet
        self._session = session
        self._peers: list[Peer] = []

    async def ticket(self, person: Any, document_id: str) -> str:
        answer = await person.http.post(f"/v1/collab/documents/{document_id}/ticket")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["ticket"])

    async def open(
        self, person: Any, document_id: str, *, doc: Doc[Any] | None = None, greet: bool = True, **query: str
    ) -> Peer:
        """A client in step."""
        peer = await self.connect(document_id, {"ticket": await self.ticket(person, document_id), **query}, doc=doc)
        if greet:
            peer.greet()
            await peer.until(peer.synced.is_set)
        return peer

    async def connect(
        self, document_id: str, query: dict[str, str], *, doc: Doc[Any] | None = None, protocols: tuple[str, ...] = ()
    ) -> Peer:
        """A socket."""
        url = self._fleet["collab"].url + f"/v1/collab/ws/{document_id}"
        socket = await self._session.ws_connect(url, params=query, protocols=protocols, max_msg_size=0)
        peer = Peer(socket, doc)
        self._peers.append(peer)
        return peer

    @classmethod
    @asynccontextmanager
    async def opened(cls, fleet: Any) -> AsyncIterator["Desk"]:
        async with aiohttp.ClientSession() as session:
            desk = cls(fleet, session)
            yield desk
            for peer in desk._peers:
                await peer.leave()


async def named(people: Any, fleet: Any, name: str) -> Any:
    """Somebody whose name the collab service has heard of."""
    person = await people.person("Nobody")
    answer = await person.http.patch("/v1/users/me", json={"display_name": name})
    assert answer.status_code == 200, answer.text
    log = fleet["collab"].app.state.resources.log
    async with asyncio.timeout(10):
        while True:
            async with log._database.transaction() as transaction:
                known = await transaction.one(
                    "SELECT display_name FROM collab.access_user WHERE user_id = %(id)s", {"id": person.id}
                )
            if known:
                return person
            await asyncio.sleep(0.05)
