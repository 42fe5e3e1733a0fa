"""Pokes over Server-Sent Events (WHATWG HTML, section 9.2), and the long poll for who cannot have them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any
from uuid import UUID

import orjson

from common.auth import Principal
from common.connections import Connections, OpenConnection
from common.errors import ServiceError

from ..domain import Scope
from .hub import Hub, Waiter

BEAT_SECONDS = 20.0
BEFORE_EXPIRY_SECONDS = 10.0
LONGEST_SECONDS = 900.0
GATHER_SECONDS = (0.005, 0.32)
"""Between two pokes of one stream what changes is gathered: shortly at first, twice as long each time it goes on."""
BEAT = b": still here\n\n"

Rights = tuple[Collection[Scope], Collection[UUID]]


def event(name: str, data: Any) -> bytes:
    """One event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


class StreamService:
    """Streams and polls of one caller; `rights` looks up the scopes and workspaces of the caller."""

    def __init__(
        self, hub: Hub, connections: Connections, principal: Principal, rights: Callable[[], Awaitable[Rights]]
    ) -> None:
        self._hub = hub
        self._connections = connections
        self._principal = principal
        self._rights = rights

    async def watch(self, device_id: UUID) -> Waiter:
        """Somebody who will wait; nothing is missed from here on once it is registered."""
        return Waiter(device_id, *await self._rights())

    async def events(self, waiter: Waiter) -> AsyncIterator[bytes]:
        """Pokes, beats and at the end a farewell; the first poke comes at once, since anything may have changed."""
        until = time.monotonic() + min(
            max(self._principal.expires_at - time.time() - BEFORE_EXPIRY_SECONDS, 1.0), LONGEST_SECONDS
        )
        with self._registered(waiter):
            waiter.tell_all()
            gather = GATHER_SECONDS[0]
            while not waiter.ended:
                if time.monotonic() >= until:
                    waiter.end("token_expiring")
                    break
                try:
                    async with asyncio.timeout(min(BEAT_SECONDS, max(until - time.monotonic(), 0.0))):
                        await waiter.wake.wait()
                except TimeoutError:
                    yield BEAT
                    continue
                if waiter.rights:
                    await self._look_again(waiter)
                told = waiter.take()
                if told is not None and not waiter.ended:
                    named = {f"{scope.kind[0]}:{scope.id}": seq for scope, seq in told.items()}
                    yield event("poke", {"scopes": named})
                    await asyncio.sleep(gather)
                    gather = min(2 * gather, GATHER_SECONDS[1]) if waiter.wake.is_set() else GATHER_SECONDS[0]
            yield event("bye", {"reason": waiter.ended})

    async def changed(self, waiter: Waiter, behind: Callable[[], Awaitable[bool]], seconds: float) -> bool:
        """Wait until a pull would tell something, for some time; whether it would."""
        with self._registered(waiter):
            if await behind():
                return True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter.wake.wait()
            return waiter.ended is None and (waiter.wake.is_set() and await behind())

    async def _look_again(self, waiter: Waiter) -> None:
        waiter.rights = False
        try:
            scopes, workspaces = await self._rights()
        except ServiceError:
            waiter.everything = True  # the pull will say what is wrong
            return
        if waiter.scopes != frozenset(scopes) or waiter.workspaces != frozenset(workspaces):
            self._hub.move(waiter, scopes, workspaces)
            waiter.everything = True

    @contextlib.contextmanager
    def _registered(self, waiter: Waiter) -> Any:
        async def look_again() -> bool:
            waiter.rights = True
            waiter.everything = True
            waiter.wake.set()
            return True

        connection = OpenConnection(self._principal, waiter.workspaces, look_again, waiter.end)
        with self._hub.waiting(waiter), self._connections.registered(connection):
            yield
