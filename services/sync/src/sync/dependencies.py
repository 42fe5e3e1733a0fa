"""Wiring: what this service holds, the log for one event batch or one request, the search for missing events."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from common.access import MembershipProjection
from common.database import DatabaseUnavailableError, Transaction
from common.dependencies import CurrentUser, UserTransaction
from common.errors import UnavailableError
from common.messaging import Envelope, history
from common.platform import Platform

from .repository import LogReader, LogWriter
from .service import AuditService, GapService, LogService

log = logging.getLogger(__name__)

SCHEMA = "sync"
GAP_SECONDS = 2.0
LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Resources:
    """Process-wide parts beside the platform."""

    memberships: MembershipProjection


@asynccontextmanager
async def resources(platform: Platform) -> AsyncIterator[Resources]:
    """Membership projection; partitions of the log; the search for missing events."""
    platform.chores.append("ensure_log_partitions()")
    platform.supervise("gaps", close_gaps(platform))
    yield Resources(MembershipProjection(platform.worker, platform.client, platform.revocations, SCHEMA))


async def append(transaction: Transaction, events: Sequence[Envelope]) -> None:
    """Log a batch of events."""
    await LogService(LogWriter(transaction)).append(events)


async def close_gaps(platform: Platform) -> None:
    """Look for events that wait in vain, and fetch what they wait for, for the life of the process."""
    gaps = gap_service(platform)
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            async with platform.worker.transaction() as transaction:
                found = await LogWriter(transaction).gaps(GAP_SECONDS)
            for gap in found:
                await gaps.close(gap)
        except UnavailableError as error:
            level = logging.INFO if isinstance(error, DatabaseUnavailableError) else logging.WARNING
            log.log(level, "missing events not fetched", extra={"fields": {"cause": str(error)}})
            await asyncio.sleep(GAP_SECONDS)


def gap_service(platform: Platform) -> GapService:
    """Fetches from producers, applies through the inbox as any other event."""

    async def fetch(producer: str, aggregate: UUID, first: int, last: int) -> list[Envelope]:
        return await history.fetch(platform.client, producer, aggregate, first, last)

    async def skip(aggregate: UUID, producer: str, version: int) -> None:
        async with platform.worker.transaction() as transaction:
            await LogService(LogWriter(transaction)).skip(aggregate, producer, version)

    async def apply(events: Sequence[Envelope]) -> None:
        if events and platform.inbox:
            await platform.inbox.apply(events)

    return GapService(fetch, apply, skip)


async def audit_service(request: Request, user: CurrentUser, transaction: UserTransaction) -> AuditService:
    """The log on behalf of the caller; changed memberships are confirmed first."""
    own: Resources = request.app.state.resources
    await own.memberships.refresh_changed(user.user_id)
    return AuditService(LogReader(transaction, user.user_id), own.memberships, user)


Audit = Annotated[AuditService, Depends(audit_service, scope="function")]
