"""Wiring: what this service holds, the log for one event batch or one request, the search for missing events."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Request

from common.auth import Principal
from common.database import DatabaseUnavailableError, Transaction
from common.dependencies import CurrentUser, UserTransaction
from common.messaging import Envelope, history
from common.platform import Platform, redis_client

from . import schemas
from .domain import INLINE_BYTES, Scope
from .errors import ProtocolUnsupportedError
from .repository import DeviceRepository, FeedRepository, LogReader, LogWriter
from .service import (
    AuditService,
    ConflictService,
    DeviceService,
    FeedService,
    GapService,
    Hub,
    Lag,
    LogService,
    Meter,
    PushService,
    StreamService,
    Waiter,
)
from .service.devices import check_device
from .settings import Settings

log = logging.getLogger(__name__)

SCHEMA = "sync"
GAP_SECONDS = 2.0
LOOK_SECONDS = 0.5
REST_SECONDS = 60.0


RIGHTS = ("auth-gateway.membership.", "auth-gateway.workspace.", "auth-gateway.group", "documents.root.")
"""Types of events after which somebody in the workspace may have other rights."""


LISTENERS: list[Callable[[Mapping[Scope, int], Sequence[Envelope]], Awaitable[None]]] = []
"""Who hears of scopes' new heads, and of the events behind them, once they are committed."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Process-wide parts beside the platform."""

    hub: Hub
    meter: Meter
    lag: Lag
    cursor_keys: tuple[bytes, ...]
    limits: dict[str, Any]


@asynccontextmanager
async def resources(platform: Platform) -> AsyncIterator[Resources]:
    """Partitions of the log, what is forgotten, the search for missing events, pokes, metrics."""
    settings = platform.settings
    assert isinstance(settings, Settings)  # noqa: S101 - main.create() built it
    platform.chores += ["ensure_log_partitions()", f"forget_removals({settings.retention_days})"]
    channel = redis_client(settings.redis_url.get_secret_value(), reconnects=0)
    hub, lag = Hub(platform.redis, channel, partial(_heads, platform)), Lag()
    meter = Meter(hub.__len__, lambda: lag.seconds)
    limits = schemas.Limits(
        max_push_bytes=settings.body_limit_bytes, inline_bytes=INLINE_BYTES, retention_days=settings.retention_days
    )
    keys = tuple(key.encode() for key in settings.cursor_keys.get_secret_value().split(","))
    platform.supervise("gaps", close_gaps(platform))
    platform.supervise("changes", hub.run())
    platform.supervise("metrics", meter.run())
    listener = partial(_wake, hub, lag)
    LISTENERS.append(listener)
    yield Resources(hub, meter, lag, keys, limits.model_dump())
    LISTENERS.remove(listener)
    await channel.aclose()


async def _wake(hub: Hub, lag: Lag, heads: Mapping[Scope, int], events: Sequence[Envelope]) -> None:
    if events:
        lag.note(events[-1].time.timestamp())
    await hub.changed(heads, {UUID(event.data["workspace_id"]) for event in events if event.type.startswith(RIGHTS)})


async def _heads(platform: Platform, scopes: Collection[Scope]) -> dict[Scope, int]:
    async with platform.worker.transaction() as transaction:
        return await LogWriter(transaction).heads(scopes)


async def close_gaps(platform: Platform) -> None:
    """Look for events that wait in vain, and fetch what they wait for, for the life of the process."""
    gaps, resting = gap_service(platform), Resting()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            async with platform.worker.transaction() as transaction:
                found = await LogWriter(transaction).gaps(GAP_SECONDS, resting.now())
        except DatabaseUnavailableError as error:
            log.info("missing events not looked for", extra={"fields": {"cause": str(error)}})
            continue
        for gap in found:
            try:
                await gaps.close(gap)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one gap, the others are closed
                fields = {"aggregate": str(gap["id"]), "producer": gap["producer"], "cause": repr(error)}
                log.warning("missing events not fetched", extra={"fields": fields})
                resting.put(gap["id"])
            else:
                resting.forget(gap["id"])


class Resting:
    """Gaps that could not be closed, each left alone for a while that grows with its failures."""

    def __init__(self) -> None:
        self._until: dict[UUID, tuple[float, int]] = {}

    def put(self, aggregate: UUID) -> None:
        """Another failure."""
        failures = self._until.get(aggregate, (0.0, 0))[1] + 1
        self._until[aggregate] = time.monotonic() + min(GAP_SECONDS * 2**failures, REST_SECONDS), failures

    def forget(self, aggregate: UUID) -> None:
        """It went well."""
        self._until.pop(aggregate, None)

    def now(self) -> list[UUID]:
        """Those to leave alone now."""
        return [aggregate for aggregate, (until, _) in self._until.items() if until > time.monotonic()]


def gap_service(platform: Platform) -> GapService:
    """Fetches from producers, applies through the inbox as any other event."""

    async def fetch(producer: str, aggregate: UUID, first: int, last: int) -> list[Envelope]:
        return await history.fetch(platform.client, producer, aggregate, first, last)

    async def skip(aggregate: UUID, producer: str, version: int) -> None:
        async with platform.worker.transaction() as transaction:
            await log_service(transaction, ()).skip(aggregate, producer, version)

    async def apply(events: Sequence[Envelope]) -> None:
        if events and platform.inbox:
            await platform.inbox.apply(events)

    return GapService(fetch, apply, skip)


async def append(transaction: Transaction, events: Sequence[Envelope]) -> None:
    """Log a batch of events."""
    await log_service(transaction, events).append(events)


def log_service(transaction: Transaction, events: Sequence[Envelope]) -> LogService:
    """Writes the log; whoever waits for it hears once the transaction is committed."""

    def told(heads: Mapping[Scope, int]) -> None:
        async def tell() -> None:
            for listener in LISTENERS:
                await listener(heads, events)

        transaction.after_commit.append(tell)

    return LogService(LogWriter(transaction), told)


async def audit_service(request: Request, user: CurrentUser, transaction: UserTransaction) -> AuditService:
    """The log on behalf of the caller; changed memberships are confirmed first."""
    platform: Platform = request.app.state.platform
    await platform.access.refresh(user.user_id)
    return AuditService(LogReader(transaction, user.user_id), platform.access, user, platform.revocations.nodes)


async def device_service(request: Request, user: CurrentUser, transaction: UserTransaction) -> DeviceService:
    """The caller's devices."""
    platform, own = _parts(request)
    devices = DeviceRepository(transaction, user.user_id)
    return DeviceService(devices, platform.client, own.hub, user, _token(request))


async def feed_service(request: Request, user: CurrentUser, transaction: UserTransaction) -> FeedService:
    """Changes on behalf of the caller; changed rights are confirmed first."""
    platform, own = _parts(request)
    await platform.access.refresh(user.user_id)
    return FeedService(
        FeedRepository(transaction, user.user_id), DeviceRepository(transaction, user.user_id), platform.access,
        platform.client, user, _token(request), platform.revocations.nodes, own.cursor_keys,
    )  # fmt: skip


async def push_service(request: Request, user: CurrentUser) -> PushService:
    """Operations on behalf of the caller."""
    platform, own = _parts(request)
    return PushService(platform.database, platform.client, own.meter, user, _token(request))


async def conflict_service(
    request: Request,
    user: CurrentUser,
    transaction: UserTransaction,
    push: Annotated[PushService, Depends(push_service)],
) -> ConflictService:
    """Conflicts the caller may see; changed rights are confirmed first."""
    platform, _ = _parts(request)
    await platform.access.refresh(user.user_id)
    return ConflictService(FeedRepository(transaction, user.user_id), push, user)


async def stream_service(request: Request, user: CurrentUser) -> "Streams":
    """Streams and polls of the caller; they hold no transaction while they wait."""
    platform, own = _parts(request)
    return Streams(platform, own, user)


class Streams(StreamService):
    """Looks up rights in transactions of its own."""

    def __init__(self, platform: Platform, own: Resources, user: Principal) -> None:
        super().__init__(own.hub, platform.connections, user, self._look_up)
        self._platform = platform
        self._user = user

    async def device(self, device_id: UUID) -> Waiter:
        """A waiter for one of the caller's devices. Raises what `check_device` raises."""
        async with self._platform.database.transaction(self._user.user_id) as transaction:
            check_device(await DeviceRepository(transaction, self._user.user_id).find(device_id), self._user)
        return await self.watch(device_id)

    async def _look_up(self) -> tuple[Collection[Scope], Collection[UUID]]:
        await self._platform.access.refresh(self._user.user_id)
        async with self._platform.database.transaction(self._user.user_id) as transaction:
            feed = FeedRepository(transaction, self._user.user_id)
            return list(await feed.heads()), await feed.workspaces()


async def summary(request: Request, user: CurrentUser, transaction: UserTransaction) -> dict[str, Any]:
    """How sync is doing for the caller."""
    platform, own = _parts(request)
    await platform.access.refresh(user.user_id)
    feed, devices = FeedRepository(transaction, user.user_id), DeviceRepository(transaction, user.user_id)
    return {
        "epoch": await devices.epoch(),
        "scopes": [
            {"scope": f"{scope.kind[0]}:{scope.id}", "seq": head.seq, "role": head.role, "count": head.tally.held}
            for scope, head in (await feed.heads()).items()
        ],
        "devices": [schemas.device(row) for row in await devices.list_all()],
        "open_conflicts": await feed.open_conflicts(),
        "lag_ms": round(own.lag.seconds * 1000),
    }


async def protocol(
    version: Annotated[int | None, Header(alias="X-Sync-Protocol", description="1; without, the newest")] = None,
) -> None:
    """Refuse clients of another protocol. Raises `ProtocolUnsupportedError`."""
    if version not in (None, schemas.PROTOCOL):
        raise ProtocolUnsupportedError(f"this service speaks version {schemas.PROTOCOL}", supported=[schemas.PROTOCOL])


def limits(request: Request) -> dict[str, Any]:
    """What one request may carry."""
    own: Resources = request.app.state.resources
    return own.limits


def _parts(request: Request) -> tuple[Platform, Resources]:
    return request.app.state.platform, request.app.state.resources


def _token(request: Request) -> str:
    return request.headers["authorization"].partition(" ")[2]


Audit = Annotated[AuditService, Depends(audit_service, scope="function")]
Devices = Annotated[DeviceService, Depends(device_service, scope="function")]
Feed = Annotated[FeedService, Depends(feed_service, scope="function")]
Pushes = Annotated[PushService, Depends(push_service)]
Conflicts = Annotated[ConflictService, Depends(conflict_service, scope="function")]
Stream = Annotated[Streams, Depends(stream_service)]
Summary = Annotated[dict[str, Any], Depends(summary, scope="function")]
Protocol = Annotated[None, Depends(protocol)]
Limits = Annotated[dict[str, Any], Depends(limits)]
