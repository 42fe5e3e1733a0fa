"""The outbox: an event is written in its effect's transaction, and relayed to the bus once that has committed.

One relay per schema at a time (advisory lock); rows are drained by presence, oldest first, so none is ever skipped.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar
from uuid import UUID

import psycopg
from opentelemetry.trace import SpanKind
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from common import telemetry
from common.auth import Principal
from common.database import KEEPALIVES, OUTAGE, Transaction
from common.identifiers import uuid7
from common.messaging.bus import Bus, BusUnavailableError
from common.messaging.envelope import Envelope, Event

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH: Final = 200
POLL_SECONDS: Final = 0.1
CANDIDATE_SECONDS: Final = 1.0
DEADLINE_SECONDS: Final = 15.0
"""Longest a round may take; a leader whose database or broker is frozen gives up its place."""
LINGER_SECONDS: Final = 0.01
"""While events come in a stream, so long is waited for more of them: a larger batch costs less per event."""
ABANDONED_SECONDS: Final = 15.0
"""A leader not heard of for so long has lost its line: the server ends its session, and with it the lock."""
HELD_SECONDS: Final = (0.5, 1.0, 2.0, 5.0, 10.0)

COLUMNS: Final = "id, event_id, type, aggregate_id, aggregate_version, data, headers, occurred_at"


def headers(principal: Principal | None) -> dict[str, Any]:
    """CloudEvents extensions every event carries for tracing and audit."""
    context = telemetry.current()
    device = principal and principal.device_id
    return ({"deviceid": str(device), "opid": str(principal.op_id)} if principal and device else {}) | {
        "traceparent": context.traceparent if context else None,
        "clientip": context.client_ip if context else None,
        "actor": str(principal.user_id) if principal else None,
        "sessionid": str(principal.session_id) if principal else None,
        "authmethod": ",".join(principal.amr) if principal else None,
    }


async def record(
    transaction: Transaction,
    schema: str,
    event: Event,
    *,
    aggregate_id: UUID,
    aggregate_version: int,
    principal: Principal | None,
) -> None:
    """Write `event` to the outbox; it is published if, and only if, the transaction commits.

    The versions of an aggregate's events count from 1 without a gap: by that a consumer knows what it still misses.
    """
    transaction.will_tell()
    await transaction.execute(
        f"INSERT INTO {schema}.outbox (event_id, type, aggregate_id, aggregate_version, data, headers) "
        "VALUES (%(event_id)s, %(type)s, %(aggregate_id)s, %(aggregate_version)s, %(data)s, %(headers)s)",
        {
            "event_id": uuid7(),
            "type": event.type,
            "aggregate_id": aggregate_id,
            "aggregate_version": aggregate_version,
            "data": Jsonb(event.model_dump(mode="json", exclude_unset=True)),
            "headers": Jsonb(headers(principal)),
        },
    )


def envelope(row: Mapping[str, Any]) -> Envelope:
    """The event in a row of `outbox` or `outbox_sent`."""
    return Envelope(
        id=row["event_id"],
        type=row["type"],
        aggregate_id=row["aggregate_id"],
        version=row["aggregate_version"],
        time=row["occurred_at"],
        data=row["data"],
        extensions=row["headers"],
    )


async def _timely(work: Awaitable[T]) -> T:
    """No step may take for ever: a line that went dead tells nobody."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await work


class Relay:
    """Moves committed events to the bus and then to `outbox_sent`; runs in every replica, works in one of them."""

    def __init__(self, url: str, schema: str, bus: Bus, written: asyncio.Event) -> None:
        self._url = url
        self._bus = bus
        self._written = written
        self._lock_name = f"{schema}.outbox"
        self._linger = 0.0
        self._held: dict[UUID, tuple[float, int]] = {}
        self._select = (
            f"SELECT {COLUMNS} FROM {schema}.outbox WHERE aggregate_id <> ALL(%(held)s) ORDER BY id LIMIT {BATCH}"
        )
        self._move = (
            f"WITH gone AS (DELETE FROM {schema}.outbox WHERE id = ANY(%(ids)s) RETURNING {COLUMNS}) "
            f"INSERT INTO {schema}.outbox_sent ({COLUMNS}) SELECT {COLUMNS} FROM gone"
        )

    async def run(self) -> None:
        """Relay until cancelled; whatever goes away, it waits and goes on."""
        while True:
            try:
                await self._lead()
            except OUTAGE as error:
                log.warning("relay lost its database", extra={"fields": {"cause": type(error).__name__}})
            except TimeoutError:
                log.warning("relay got no answer in time")
            await asyncio.sleep(CANDIDATE_SECONDS)

    async def _lead(self) -> None:
        async with await _timely(self._connect()) as connection:
            while not await _timely(self._wins(connection)):  # noqa: ASYNC110 - another process frees the lock
                await asyncio.sleep(CANDIDATE_SECONDS)
            log.info("relaying events")
            while True:
                if not await _timely(self._round(connection)):
                    await self._rest()
                    await asyncio.sleep(self._linger)

    async def _connect(self) -> psycopg.AsyncConnection[DictRow]:
        return await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            row_factory=dict_row,
            prepare_threshold=0,
            options=f"-c idle_session_timeout={round(ABANDONED_SECONDS * 1000)}",
            **KEEPALIVES,
        )

    async def _wins(self, connection: psycopg.AsyncConnection[DictRow]) -> bool:
        """Whether it is the leader now, for as long as this connection lasts."""
        cursor = await connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(%s, 0)) AS won", (self._lock_name,)
        )
        row = await cursor.fetchone()
        return bool(row and row["won"])

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._written.wait()
        except TimeoutError:
            return
        finally:
            self._written.clear()

    async def _round(self, connection: psycopg.AsyncConnection[DictRow]) -> bool:
        """Relay one batch; whether there may be more to do at once."""
        if not self._bus.connected:
            await connection.execute("SELECT 1")  # still here
            return False
        now = time.monotonic()
        held = [aggregate for aggregate, (until, _) in self._held.items() if until > now]
        rows = await (await connection.execute(self._select, {"held": held})).fetchall()
        if not rows:
            return False
        try:
            outcomes = await self._publish([envelope(row) for row in rows])
        except BusUnavailableError as error:
            log.warning("events not published", extra={"fields": {"cause": str(error), "waiting": len(rows)}})
            return False
        sent = list(self._sent(rows, outcomes))
        self._linger = LINGER_SECONDS if len(rows) > 1 else 0.0
        if sent:
            await connection.execute(self._move, {"ids": sent})
        return len(rows) == BATCH and len(sent) == len(rows)

    async def _publish(self, envelopes: Sequence[Envelope]) -> Sequence[Exception | None]:
        spans = [telemetry.start(f"publish {item.type}", SpanKind.PRODUCER, item.traceparent) for item in envelopes]
        try:
            return await self._bus.publish(
                [
                    item.within(telemetry.traceparent_of(span)) if span else item
                    for item, span in zip(envelopes, spans, strict=True)
                ]
            )
        finally:
            for span in spans:
                if span:
                    span.end()

    def _sent(self, rows: Sequence[DictRow], outcomes: Sequence[Exception | None]) -> Iterable[int]:
        """Ids of what is safe with the broker; after a failure the rest of that aggregate waits, so order is kept."""
        failed: set[UUID] = set()
        for row, outcome in zip(rows, outcomes, strict=True):
            aggregate = row["aggregate_id"]
            if outcome is None and aggregate not in failed:
                self._held.pop(aggregate, None)
                yield row["id"]
            elif aggregate not in failed:
                failed.add(aggregate)
                self._hold(aggregate, row["type"], outcome)

    def _hold(self, aggregate: UUID, type_: str, cause: Exception | None) -> None:
        failures = self._held.get(aggregate, (0.0, 0))[1] + 1
        pause = HELD_SECONDS[min(failures, len(HELD_SECONDS)) - 1]
        self._held[aggregate] = (time.monotonic() + pause, failures)
        log.warning("event not taken", extra={"fields": {"type": type_, "failures": failures, "cause": str(cause)}})
