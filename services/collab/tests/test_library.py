"""Why the rooms of pycrdt-websocket are not ours (ADR 0016): its faults as they are. One less is good news."""

import asyncio
import contextlib
import logging
from typing import Any

import anyio
import pytest
from pycrdt import Doc, Text, create_update_message
from pycrdt.websocket import WebsocketServer


class Channel:
    """A client as the library's channel contract wants it."""

    def __init__(self, path: str = "room", fail_after: int | None = None, delay: float = 0.0) -> None:
        self.path = path
        self.out: list[bytes] = []
        self.waiting = 0
        self.delay = delay
        self._incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._fail_after = fail_after

    def say(self, message: bytes | None) -> None:
        self._incoming.put_nowait(message)

    def __aiter__(self) -> "Channel":
        return self

    async def __anext__(self) -> bytes:
        message = await self._incoming.get()
        if message is None:
            raise StopAsyncIteration
        return message

    async def send(self, message: bytes) -> None:
        if self._fail_after is not None and len(self.out) >= self._fail_after:
            raise ConnectionError("gone")
        self.waiting += 1
        await asyncio.sleep(self.delay)
        self.waiting -= 1
        self.out.append(message)


def updates(count: int) -> list[bytes]:
    doc: Doc[Any] = Doc(client_id=7)
    text = doc.get("content", type=Text)
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    for _ in range(count):
        text += "x"
    doc.unobserve(subscription)
    return made


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def served(server: WebsocketServer, channels: list[Channel], act: Any, pause: float = 0.05) -> None:
    with contextlib.suppress(BaseExceptionGroup, asyncio.CancelledError):
        async with server, anyio.create_task_group() as tasks:
            for channel in channels:
                tasks.start_soon(server.serve, channel)
                if pause:
                    await asyncio.sleep(pause)
            await act(server)
            tasks.cancel_scope.cancel()


async def test_two_first_joiners_at_once_and_one_is_never_served() -> None:
    first, second = Channel(), Channel()

    async def act(_server: WebsocketServer) -> None:
        await asyncio.sleep(0.5)

    await served(WebsocketServer(), [first, second], act, pause=0)
    assert not (first.out and second.out)


async def test_one_failing_client_takes_everybody_down() -> None:
    good, bad, other = Channel(), Channel(fail_after=1), Channel("another room")
    alive = []

    async def act(server: WebsocketServer) -> None:
        good.say(create_update_message(updates(1)[0]))
        await asyncio.sleep(0.2)
        alive.append("another room" in server.rooms)
        before = len(other.out)
        other.say(create_update_message(updates(1)[0]))
        await asyncio.sleep(0.2)
        alive.append(len(other.out) > before)

    await served(WebsocketServer(), [good, bad, other], act)
    assert not all(alive) or not alive


async def test_a_slow_client_costs_a_task_for_every_update() -> None:
    writer, slow = Channel(), Channel()
    waiting = []

    async def act(_server: WebsocketServer) -> None:
        slow.delay = 30.0
        for update in updates(500):
            writer.say(create_update_message(update))
        await asyncio.sleep(1.0)
        waiting.append(slow.waiting)

    await served(WebsocketServer(), [writer, slow], act)
    assert waiting[0] > 400


async def test_junk_is_swallowed() -> None:
    client = Channel()
    there = []

    async def act(server: WebsocketServer) -> None:
        for message in (b"", b"\x00", b"\x00\x02\xff", b"\x63"):
            client.say(message)
        await asyncio.sleep(0.2)
        there.append(client in server.rooms["room"].clients)

    await served(WebsocketServer(), [client], act)
    assert there == [True]
