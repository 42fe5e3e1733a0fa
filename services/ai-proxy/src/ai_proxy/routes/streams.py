"""What streams of this service share: noticing that the client has gone, and saying something in every silence."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

SEND_SECONDS: Final = 60.0
"""A client that takes nothing for so long is cut off."""
HEARTBEAT: Final = b": heartbeat\n\n"


@asynccontextmanager
async def watching(receive: Receive, gone: Callable[[], None]) -> AsyncIterator[None]:
    """Call `gone` as soon as the client has gone."""

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone()

    listener = asyncio.create_task(listen())
    try:
        yield
    finally:
        listener.cancel()


async def put(send: Send, data: bytes) -> None:
    """Hand a part of the answer on. Raises `TimeoutError`."""
    async with asyncio.timeout(SEND_SECONDS):
        await send({"type": "http.response.body", "body": data, "more_body": True})


async def beating(events: AsyncIterator[bytes], seconds: float) -> AsyncGenerator[bytes, None]:
    """The events, with a comment between them whenever none came for so long."""
    waiting: asyncio.Task[bytes] | None = None
    try:
        while True:
            waiting = waiting or asyncio.create_task(_next(events))
            done, _ = await asyncio.wait((waiting,), timeout=seconds)
            if not done:
                yield HEARTBEAT
                continue
            event, waiting = waiting.result(), None
            if not event:
                return
            yield event
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


async def _next(events: AsyncIterator[bytes]) -> bytes:
    return await anext(events, b"")
