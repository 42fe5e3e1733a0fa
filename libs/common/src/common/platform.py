"""What every process holds: database, Redis, keys, revocations, limiter, client of its peers, event bus."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

from psycopg import errors as pg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from common.access import AccessProjection
from common.auth import Authenticator, Keys, Revocations, ServiceIdentity
from common.client import InternalClient
from common.connections import Connections
from common.database import Database, DatabaseUnavailableError
from common.messaging import Bus, Consumer, Inbox, Relay, Subscriber
from common.messaging.adapters import open_bus
from common.ratelimit import Policy, RateLimiter
from common.revisions import SchemaTooOldError, older_revisions
from common.revocations import RevocationFeed, Source, revoked_since
from common.settings import CommonSettings

log = logging.getLogger(__name__)

REDIS_TIMEOUT_SECONDS = 0.5
WORKER_CONNECTIONS = 2
WORKER_TIMEOUT_SECONDS = 10.0
HOUSEKEEPING_SECONDS = 3600.0
SCHEMA_TOO_OLD_EXIT = 3
ROOT_OWNER = "documents"
REVOCATION_OWNERS = ("auth-gateway", "documents")


class Platform:
    """Process-wide resources, opened by the app's lifespan; no dependency needs to be up for that."""

    def __init__(self, settings: CommonSettings) -> None:
        self.settings = settings
        self.draining = False
        self.exit_code = 0
        self.database = Database(
            settings.database_url.get_secret_value(),
            max_size=settings.database_pool_max,
            timeout=settings.database_timeout_seconds,
        )
        self.worker = Database(
            settings.worker_database_url.get_secret_value(), max_size=WORKER_CONNECTIONS, timeout=WORKER_TIMEOUT_SECONDS
        )
        # After a restart of Redis every pooled connection is dead: the first command on each is sent again.
        self.redis = redis_client(settings.redis_url.get_secret_value(), reconnects=1)
        # Whoever listens must notice a lost connection, since what was said meanwhile has to be loaded.
        self._channel = redis_client(settings.redis_url.get_secret_value(), reconnects=0)
        self.identity = ServiceIdentity(
            settings.service, settings.service_key.get_secret_value(), settings.service_public_keys
        )
        self.client = InternalClient(self.identity, settings.internal_urls)
        self.revocations = Revocations()
        self.keys = Keys(self.fetch_jwks, settings.state_dir / "jwks" / f"{settings.service}.json")
        self.authenticator = Authenticator(
            self.keys, self.revocations, issuer=settings.issuer, audience=settings.audience
        )
        self.limiter = RateLimiter(self.redis)
        self.read_policy = _steady("read", settings.rate_read_per_minute)
        self.write_policy = _steady("write", settings.rate_write_per_minute)
        self.anonymous_policy = Policy(
            "anonymous", settings.rate_anonymous_per_minute, max(1, settings.rate_anonymous_per_minute // 4)
        )
        self.feed = RevocationFeed(self.revocations, self._channel, self.revocation_sources())
        self.bus: Bus = open_bus(
            settings.amqp_url.get_secret_value() if settings.amqp_url else None,
            settings.events_topic_arn,
            settings.events_queue_prefix,
            settings.aws_endpoint_url,
        )
        self.relay = Relay(
            settings.worker_database_url.get_secret_value(), settings.schema_name, self.bus, self.database.written
        )
        self.access = AccessProjection(
            self.worker,
            self.client,
            self.revocations,
            settings.schema_name,
            owns_roots=settings.service == ROOT_OWNER,
        )
        self.connections = Connections(self.revocations)
        """Sockets and streams, which lose their rights as soon as their users do."""
        self.inbox: Inbox | None = None
        self.chores = ["ensure_partitions()", "drop_expired()"]
        """Functions of the schema to call once an hour."""
        self._closing = False
        self._schema_ready = False
        self._keys_ready = False
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: CommonSettings) -> AsyncIterator[Self]:
        """Open everything in the background; raises `SchemaTooOldError` only for a schema it could read."""
        async with AsyncExitStack() as stack:
            platform = cls(settings)
            await platform.database.open()
            await platform.worker.open()
            stack.push_async_callback(platform.database.close)
            stack.push_async_callback(platform.worker.close)
            stack.push_async_callback(platform.redis.aclose)
            stack.push_async_callback(platform._channel.aclose)
            stack.push_async_callback(platform.client.close)
            stack.push_async_callback(platform.stop_tasks)
            await platform._check_schema_once()
            await platform.feed.reload()
            platform.supervise("revocations", platform.feed.run())
            platform.supervise("keys", platform._await_keys())
            platform.supervise("bus", platform.bus.run())
            platform.supervise("relay", platform.relay.run())
            platform.supervise("schema", platform._await_schema())
            platform.supervise("housekeeping", platform._keep_house())
            yield platform

    def consume(self, subscribers: Sequence[Subscriber]) -> None:
        """Give these every event they want, from the service's queue, for the life of the process."""
        service = self.settings.service
        self.inbox = Inbox(self.worker, self.settings.schema_name, service, subscribers)
        self.supervise("consumer", Consumer(self.bus, service, self.inbox).run())

    def supervise(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run a task for the life of the process; one that dies of a bug takes the process down, loudly."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._closing:
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error:  # a library that cancels its own futures can end a task without an error of its own
            log.critical("background task died", exc_info=error, extra={"fields": {"task": task.get_name()}})
            self.stop(1)

    def stop(self, exit_code: int) -> None:
        """Ask the server to drain and exit."""
        self.exit_code = self.exit_code or exit_code
        os.kill(os.getpid(), signal.SIGTERM)

    async def stop_tasks(self) -> None:
        """Cancel background tasks and wait for them."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def readiness(self) -> Mapping[str, str]:
        """Check name -> "ok" or what is wrong."""
        database, cache = await asyncio.gather(self._database_state(), self._cache_state())
        return {
            "database": database,
            "schema": "ok" if self._schema_ready else "unknown",
            "keys": "ok" if self._keys_ready else "unknown",
            "redis": cache,
            "bus": "ok" if self.bus.connected else "unreachable",
            "revocations": "ok" if self.feed.loaded else "unknown",
            "draining": "yes" if self.draining else "ok",
        }

    async def _database_state(self) -> str:
        try:
            await self.database.ping()
        except DatabaseUnavailableError:
            return "unreachable"
        return "ok"

    async def _cache_state(self) -> str:
        try:
            await self.redis.ping()
        except (RedisError, OSError):
            return "unreachable"
        return "ok"

    async def _check_schema_once(self) -> None:
        service, schema = self.settings.service, self.settings.schema_name
        try:
            async with self.database.transaction() as transaction:
                row = await transaction.one(f"SELECT version_num FROM {schema}.alembic_version")
        except DatabaseUnavailableError:
            return
        except (pg.UndefinedTable, pg.InsufficientPrivilege):  # the first migration makes and grants it
            row = None
        found = row["version_num"] if row else None
        # A revision unknown to this release is a newer one: expand/contract keeps old code working on it.
        if found is None or found in older_revisions(service):
            raise SchemaTooOldError(f"schema {schema} is at {found}; run the migrations")
        self._schema_ready = True

    async def _await_schema(self) -> None:
        while not self._schema_ready:
            try:
                await self._check_schema_once()
            except SchemaTooOldError as error:
                log.critical("refusing to serve", extra={"fields": {"cause": str(error)}})
                self.stop(SCHEMA_TOO_OLD_EXIT)
                return
            await asyncio.sleep(1.0)

    async def _await_keys(self) -> None:
        while not self._keys_ready:
            await self.keys.refresh()
            self._keys_ready = self.keys.asked
            await asyncio.sleep(0.2)

    async def _keep_house(self) -> None:
        schema = self.settings.schema_name
        while True:
            try:
                async with self.database.transaction() as transaction:
                    for chore in self.chores:
                        await transaction.execute(f"SELECT {schema}.{chore}")
                await asyncio.sleep(HOUSEKEEPING_SECONDS)
            except DatabaseUnavailableError:
                await asyncio.sleep(5.0)

    async def fetch_jwks(self) -> Mapping[str, Any]:
        """Ask the token issuer, auth-gateway."""
        document: Mapping[str, Any] = await self.client.get("auth-gateway", "/internal/jwks")
        return document

    def revocation_sources(self) -> list[Source]:
        """Who is asked for revocations: their owners, other services or this one."""
        return [self._revocations_of(owner) for owner in REVOCATION_OWNERS]

    def _revocations_of(self, owner: str) -> Source:
        async def own(since: float) -> Mapping[str, float]:
            return await revoked_since(self.database, self.settings.schema_name, since)

        async def ask(since: float) -> Mapping[str, float]:
            answer = await self.client.get(owner, "/internal/revocations", {"since": str(since)})
            entries: Mapping[str, float] = answer["entries"]
            return entries

        return own if owner == self.settings.service else ask


def redis_client(url: str, *, reconnects: int) -> Redis:
    """A pool of connections; a command whose connection turns out dead is sent again on a new one, this many times."""
    return Redis.from_url(
        url,
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), reconnects, (RedisConnectionError,)),
    )


def _steady(name: str, per_minute: int) -> Policy:
    """A policy for routes called often: ten seconds' worth may come at once, tokens are leased in tens."""
    return Policy(name, per_minute, burst=max(1, per_minute // 6), lease=10)
