"""Who waits for changes, and how they hear of them: in this process at once, in others over Redis, else by looking.

A poke carries no data and may be lost; what is pending for one waiter is bounded, however slowly it reads.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.database import DatabaseUnavailableError
from common.identifiers import uuid7

from ..domain import Scope

log = logging.getLogger(__name__)

CHANNEL = "mdc:sync:heads"
LOOK_SECONDS = 1.0
"""Between two looks at the database while Redis is away."""
PENDING = 100
"""Scopes named in one poke; of more, the poke says that anything may have changed."""

PER_DEVICE = 4
"""Streams and polls of one device at a time."""

Heads = Mapping[Scope, int]


class Waiter:
    """One stream or poll: what it waits for, what it has not been told yet."""

    __slots__ = ("device_id", "ended", "everything", "pending", "rights", "scopes", "wake", "workspaces")

    def __init__(self, device_id: UUID, scopes: Collection[Scope], workspaces: Collection[UUID]) -> None:
        self.device_id = device_id
        self.scopes = frozenset(scopes)
        self.workspaces = frozenset(workspaces)
        self.pending: dict[Scope, int] = {}
        self.everything = False
        self.rights = False
        """Whether rights may have changed since its scopes were looked up."""
        self.ended: str | None = None
        self.wake = asyncio.Event()

    def tell(self, scope: Scope, seq: int) -> None:
        """A scope has moved on."""
        if len(self.pending) < PENDING or scope in self.pending:
            self.pending[scope] = max(seq, self.pending.get(scope, 0))
        else:
            self.everything = True
        self.wake.set()

    def tell_all(self) -> None:
        """Anything may have changed, rights too."""
        self.everything = self.rights = True
        self.wake.set()

    def end(self, reason: str) -> None:
        """No more of this."""
        self.ended = self.ended or reason
        self.wake.set()

    def take(self) -> dict[Scope, int] | None:
        """What is pending, empty if anything may have changed, None if nothing is; taken once."""
        self.wake.clear()
        pending, everything = self.pending, self.everything
        self.pending, self.everything = {}, False
        return {} if everything else pending or None


class Hub:
    """A process's waiters, by scope, by workspace and by device."""

    def __init__(self, redis: Redis, channel: Redis, look: Callable[[Collection[Scope]], Awaitable[Heads]]) -> None:
        self._redis = redis
        self._channel = channel
        self._look = look
        self._me = str(uuid7())
        self._by_key: dict[Any, set[Waiter]] = defaultdict(set)
        self._listening = False
        self._seen: dict[Scope, int] = {}

    def __len__(self) -> int:
        return len(self._waiters())

    @contextmanager
    def waiting(self, waiter: Waiter) -> Iterator[None]:
        """Keep a waiter registered while the block runs; of too many for one device, others end."""
        peers = self._by_key.get(("device", waiter.device_id), set())
        for peer in list(peers)[: max(0, len(peers) + 1 - PER_DEVICE)]:
            peer.end("replaced")
        self._add(waiter)
        try:
            yield
        finally:
            self._discard(waiter)

    def move(self, waiter: Waiter, scopes: Collection[Scope], workspaces: Collection[UUID]) -> None:
        """Its rights have changed."""
        self._discard(waiter)
        waiter.scopes, waiter.workspaces = frozenset(scopes), frozenset(workspaces)
        self._add(waiter)

    async def changed(self, heads: Heads, workspaces: Collection[UUID]) -> None:
        """Events were logged: scopes have new heads, rights in these workspaces may be others."""
        self._wake(heads, workspaces)
        named = {f"{scope.kind}:{scope.id}": seq for scope, seq in heads.items()}
        await self._publish({"heads": named, "workspaces": [str(id_) for id_ in workspaces]})

    async def removed(self, device_id: UUID) -> None:
        """A device was removed: whatever is open for it ends."""
        self._end(device_id)
        await self._publish({"device": str(device_id)})

    async def run(self) -> None:
        """Hear what other processes say, for the life of this one; look for oneself while they cannot be heard."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen_forever())
            tasks.create_task(self._look_forever())

    async def _publish(self, message: Mapping[str, Any]) -> None:
        try:
            await self._redis.publish(CHANNEL, orjson.dumps({**message, "from": self._me}))
        except RedisError as error:
            log.warning("changes not published", extra={"fields": {"cause": str(error)}})

    async def _listen_forever(self) -> None:
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                log.warning("channel of changes lost", extra={"fields": {"cause": str(error)}})
            self._listening = False
            await asyncio.sleep(LOOK_SECONDS)

    async def _listen(self) -> None:
        async with self._channel.pubsub() as channel:
            await channel.subscribe(CHANNEL)
            self._listening = True
            for waiter in self._waiters():
                waiter.tell_all()  # what was said until now was not heard
            while True:
                message = await channel.get_message(ignore_subscribe_messages=True, timeout=10.0)
                if message:
                    self._hear(message["data"])

    def _hear(self, data: bytes) -> None:
        message = orjson.loads(data)
        if message["from"] == self._me:
            return
        if device := message.get("device"):
            self._end(UUID(device))
            return
        heads = {}
        for name, seq in message["heads"].items():
            kind, _, id_ = name.partition(":")
            heads[Scope(kind, UUID(id_))] = seq
        self._wake(heads, [UUID(id_) for id_ in message["workspaces"]])

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._listening:
                self._seen = {}
                continue
            scopes = {key for key in self._by_key if isinstance(key, Scope)}
            try:
                heads = await self._look(scopes) if scopes else {}
            except DatabaseUnavailableError as error:
                log.info("changes not looked for", extra={"fields": {"cause": str(error)}})
                continue
            self._wake({scope: seq for scope, seq in heads.items() if self._seen.get(scope, seq) != seq}, ())
            self._seen = dict(heads)

    def _wake(self, heads: Heads, workspaces: Iterable[UUID]) -> None:
        for scope, seq in heads.items():
            for waiter in self._by_key.get(scope, ()):
                waiter.rights = waiter.rights or scope.kind == "user"
                waiter.tell(scope, seq)
        for workspace_id in workspaces:
            for waiter in self._by_key.get(workspace_id, ()):
                waiter.rights = True
                waiter.wake.set()

    def _end(self, device_id: UUID) -> None:
        for waiter in self._by_key.get(("device", device_id), ()):
            waiter.end("device_revoked")

    def _waiters(self) -> set[Waiter]:
        return {waiter for found in self._by_key.values() for waiter in found}

    def _keys(self, waiter: Waiter) -> Iterable[Any]:
        return (*waiter.scopes, *waiter.workspaces, ("device", waiter.device_id))

    def _add(self, waiter: Waiter) -> None:
        for key in self._keys(waiter):
            self._by_key[key].add(waiter)

    def _discard(self, waiter: Waiter) -> None:
        for key in self._keys(waiter):
            self._by_key[key].discard(waiter)
            if not self._by_key[key]:
                del self._by_key[key]


class Lag:
    """How late events were logged, in this process: seconds between what happened and its entry, newest first."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def note(self, happened_at: float) -> None:
        """An event that happened then (Unix seconds) is logged now."""
        self.seconds = max(0.0, time.time() - happened_at)
