"""Carries revocations to every replica: Redis pub/sub at once, the sorted set at (re)connect, the owner every 30 s."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.auth import Revocations
from common.errors import UnavailableError

log = logging.getLogger(__name__)

REDIS_KEY = "mdc:revocations"
RELOAD_SECONDS = 30.0
OVERLAP_SECONDS = 120.0
_NUMBER = re.compile(r"\d{1,12}(\.\d{1,9})?")


class Source(Protocol):
    """Where the owner of revocations can be asked."""

    async def __call__(self, since: float) -> Mapping[str, float]:
        """Entries written since `since` (Unix seconds) -> expiry."""


async def publish(redis: Redis, entries: Mapping[str, float]) -> None:
    """Tell all replicas; Redis down is not an error: the rows are committed and will be loaded within 30 s."""
    try:
        async with redis.pipeline(transaction=False) as pipe:
            pipe.zadd(REDIS_KEY, dict(entries))
            pipe.zremrangebyscore(REDIS_KEY, "-inf", time.time())
            for entry, expires_at in entries.items():
                pipe.publish(REDIS_KEY, f"{expires_at}|{entry}")
            await pipe.execute()
    except RedisError as error:
        log.warning("revocations not published", extra={"fields": {"cause": str(error)}})


class RevocationFeed:
    """Keeps a `Revocations` set up to date for the life of the process."""

    def __init__(self, revocations: Revocations, redis: Redis, source: Source) -> None:
        self._revocations = revocations
        self._redis = redis
        self._source = source
        self._since = 0.0
        self.loaded = False
        """Whether the set was complete at least once in this process."""

    async def run(self) -> None:
        """Listen and reload until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen_forever())
            tasks.create_task(self._reload_forever())

    async def _reload_forever(self) -> None:
        while True:
            complete = await self.reload()
            await asyncio.sleep(RELOAD_SECONDS if complete else 1.0)

    async def reload(self) -> bool:
        """Ask the owner for what was written since the last time; False if it could not be asked."""
        started = time.time()
        try:
            entries = await self._source(self._since)
        except UnavailableError as error:
            log.warning("revocations not reloaded", extra={"fields": {"cause": str(error)}})
            return False
        for entry, expires_at in entries.items():
            self._revocations.add(entry, expires_at)
        self._revocations.forget_expired(started)
        # Clocks differ and transactions commit late: ask again for a while already seen.
        self._since = started - OVERLAP_SECONDS
        self.loaded = True
        return True

    async def _listen_forever(self) -> None:
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                log.warning("revocation channel lost", extra={"fields": {"cause": str(error)}})
                await asyncio.sleep(1.0)

    async def _listen(self) -> None:
        async with self._redis.pubsub() as channel:
            await channel.subscribe(REDIS_KEY)
            known: Any = await self._redis.zrangebyscore(REDIS_KEY, time.time(), "+inf", withscores=True)
            for entry, expires_at in known:
                self._revocations.add(entry.decode(), expires_at)
            self.loaded = True
            while True:
                message = await channel.get_message(ignore_subscribe_messages=True, timeout=10.0)
                if message:
                    expires_at, _, entry = message["data"].decode().partition("|")
                    if _NUMBER.fullmatch(expires_at):
                        self._revocations.add(entry, float(expires_at))
