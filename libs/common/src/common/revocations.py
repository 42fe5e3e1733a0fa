"""Carries revocations to every replica: Redis pub/sub at once, the sorted set at (re)connect, owners within 30 s.

auth-gateway owns those of sessions, memberships, groups and workspaces, documents those of access roots and placements.
"""

import asyncio
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import APIRouter, Query, Request
from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.auth import Revocations
from common.database import Database, Transaction
from common.errors import NotFoundError, UnavailableError

log = logging.getLogger(__name__)

REDIS_KEY = "mdc:revocations"
RELOAD_SECONDS = 25.0
"""So that nothing is missed for more than 30 s, the question itself included."""
OVERLAP_SECONDS = 120.0
MESSAGE_ENTRIES = 500
"""Entries in one message: a group of 10,000 members is 20 messages."""
TOKEN_SECONDS = 3600 + 300.0
"""Longer than any access token lives, clock skew included."""
PROJECTION_SECONDS = 7 * 24 * 3600.0
"""Projections learn of a lowered right by its entry alone, so it stays as long as events may be on their way."""
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
            for message in _messages(entries):
                pipe.publish(REDIS_KEY, message)
            await pipe.execute()
    except RedisError as error:
        log.warning("revocations not published", extra={"fields": {"cause": str(error)}})


def _messages(entries: Mapping[str, float]) -> Iterator[str]:
    lines = [f"{expires_at}|{entry}" for entry, expires_at in entries.items()]
    for start in range(0, len(lines), MESSAGE_ENTRIES):
        yield "\n".join(lines[start : start + MESSAGE_ENTRIES])


class Announcer:
    """Lowers rights everywhere: entries are written with the change, and told to all once it is committed."""

    def __init__(self, schema: str, redis: Redis, revocations: Revocations) -> None:
        self._schema = schema
        self._redis = redis
        self._revocations = revocations

    async def sessions_ended(self, transaction: Transaction, sessions: Sequence[UUID]) -> None:
        """Refuse the tokens of these sessions."""
        await self._announce(transaction, [f"session:{session}" for session in sessions], TOKEN_SECONDS)

    async def members_changed(
        self, transaction: Transaction, kind: str, of: UUID, users: Sequence[UUID], version: int
    ) -> None:
        """Make every copy of these users' memberships of a workspace (kind `member`) or `group` below `version` ask."""
        await self._announce(transaction, [f"{kind}:{of}:{user}:{version}" for user in users])

    async def workspace_changed(self, transaction: Transaction, workspace_id: UUID, version: int) -> None:
        """Make every copy of a workspace below `version` ask."""
        await self._announce(transaction, [f"workspace:{workspace_id}:{version}"])

    async def roots_changed(self, transaction: Transaction, workspace_id: UUID, versions: Mapping[UUID, int]) -> None:
        """Make every copy of these access roots below their version ask."""
        await self._announce(transaction, [f"root:{workspace_id}:{root}:{n}" for root, n in versions.items()])

    async def nodes_placed(self, transaction: Transaction, versions: Mapping[UUID, int]) -> None:
        """Make every copy of these folders' and documents' placements below their version ask."""
        await self._announce(transaction, [f"node:{node}:{version}" for node, version in versions.items()])

    async def _announce(
        self, transaction: Transaction, entries: Sequence[str], lifetime: float = PROJECTION_SECONDS
    ) -> None:
        if not entries:
            return
        expires_at = time.time() + lifetime
        await transaction.execute(
            f"INSERT INTO {self._schema}.revocation (entry, expires_at) "
            "SELECT entry, %(expires_at)s FROM unnest(%(entries)s::text[]) AS entry ON CONFLICT DO NOTHING",
            {"entries": list(entries), "expires_at": datetime.fromtimestamp(expires_at, UTC)},
        )

        async def tell() -> None:
            for entry in entries:
                self._revocations.add(entry, expires_at)
            await publish(self._redis, dict.fromkeys(entries, expires_at))

        transaction.after_commit.append(tell)


async def revoked_since(database: Database, schema: str, since: float) -> dict[str, float]:
    """An owner's live entries written since (Unix seconds) -> expiry."""
    async with database.transaction() as transaction:
        rows = await transaction.all(
            f"SELECT entry, extract(epoch FROM expires_at)::float8 AS expires_at FROM {schema}.revocation "
            "WHERE written_at >= %(since)s AND expires_at > now()",
            {"since": datetime.fromtimestamp(since, UTC)},
        )
    return {row["entry"]: row["expires_at"] for row in rows}


def routes(schema: str) -> APIRouter:
    """The internal route of an owner of revocations."""
    router = APIRouter()

    @router.get("/revocations")
    async def list_revocations(
        since: Annotated[float, Query(ge=0, le=4e9)], request: Request
    ) -> dict[str, dict[str, float]]:
        """Live revocations written since (Unix seconds), entry -> expiry."""
        return {"entries": await revoked_since(request.app.state.platform.database, schema, since)}

    return router


class RevocationFeed:
    """Keeps a `Revocations` set up to date for the life of the process."""

    def __init__(self, revocations: Revocations, redis: Redis, sources: Sequence[Source]) -> None:
        self._revocations = revocations
        self._redis = redis
        self._since = dict.fromkeys(sources, 0.0)
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
        """Ask all owners for what was written since the last time; False if one of them could not be asked."""
        complete = all(await asyncio.gather(*map(self._reload, self._since)))
        self.loaded = self.loaded or complete
        return complete

    async def _reload(self, source: Source) -> bool:
        started = time.time()
        try:
            entries = await source(self._since[source])
        except (UnavailableError, NotFoundError) as error:  # an owner of an earlier release has no such route
            log.warning("revocations not reloaded", extra={"fields": {"cause": str(error)}})
            return False
        for entry, expires_at in entries.items():
            self._revocations.add(entry, expires_at)
        self._revocations.forget_expired(started)
        # Clocks differ and transactions commit late: ask again for a while already seen.
        self._since[source] = started - OVERLAP_SECONDS
        return True

    async def _listen_forever(self) -> None:
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                log.warning("revocation channel lost", extra={"fields": {"cause": str(error)}})
            except Exception:  # seen of the client when a server is killed: no reason to end the process
                log.exception("revocation channel lost")
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
                    self._take(message["data"].decode())

    def _take(self, message: str) -> None:
        for line in message.split("\n"):
            expires_at, _, entry = line.partition("|")
            if _NUMBER.fullmatch(expires_at):
                self._revocations.add(entry, float(expires_at))
