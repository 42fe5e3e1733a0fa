"""Wiring: what this service holds, the log for one event batch or one request, the search for missing events."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from common.database import DatabaseUnavailableError, Transaction
from common.dependencies import CurrentUser, UserTransaction
from common.messaging import Envelope, history
from common.platform import Platform

from .repository import LogReader, LogWriter
from .service import AuditService, GapService, LogService

log = logging.getLogger(__name__)

SCHEMA = "sync"
GAP_SECONDS = 2.0
LOOK_SECONDS = 0.5
REST_SECONDS = 60.0


@asynccontextmanager
async def resources(platform: Platform) -> AsyncIterator[None]:
    """Partitions of the log; the search for missing events."""
    platform.chores.append("ensure_log_partitions()")
    platform.supervise("gaps", close_gaps(platform))
    yield


async def append(transaction: Transaction, events: Sequence[Envelope]) -> None:
    """Log a batch of events."""
    await LogService(LogWriter(transaction)).append(events)


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
            await LogService(LogWriter(transaction)).skip(aggregate, producer, version)

    async def apply(events: Sequence[Envelope]) -> None:
        if events and platform.inbox:
            await platform.inbox.apply(events)

    return GapService(fetch, apply, skip)


async def audit_service(request: Request, user: CurrentUser, transaction: UserTransaction) -> AuditService:
    """The log on behalf of the caller; changed memberships are confirmed first."""
    platform: Platform = request.app.state.platform
    await platform.access.refresh(user.user_id)
    return AuditService(LogReader(transaction, user.user_id), platform.access, user, platform.revocations.nodes)


Audit = Annotated[AuditService, Depends(audit_service, scope="function")]
