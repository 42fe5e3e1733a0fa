"""Events: what a service did is written to its outbox in the effect's transaction (CloudEvents 1.0 attributes).

`BusConnection` is the process's connection to RabbitMQ; it heals itself and tells readiness how it is.
"""

import asyncio
import logging
from typing import Any, Protocol
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractConnection
from psycopg.types.json import Jsonb

from common import telemetry
from common.auth import Principal
from common.database import Transaction
from common.identifiers import uuid7

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
HEARTBEAT_SECONDS = 10


class Event(Protocol):
    """A frozen event class of `common.contracts`; `type` is `<producer>.<aggregate>.<past tense>.v<n>`."""

    @property
    def type(self) -> str:
        """CloudEvents type."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """CloudEvents data."""


def headers(principal: Principal | None) -> dict[str, Any]:
    """CloudEvents extensions every event carries for tracing and audit."""
    context = telemetry.current()
    return {
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
    """Write `event` to the outbox; it is published if, and only if, the transaction commits."""
    await transaction.execute(
        f"INSERT INTO {schema}.outbox (event_id, type, aggregate_id, aggregate_version, data, headers) "
        "VALUES (%(event_id)s, %(type)s, %(aggregate_id)s, %(aggregate_version)s, %(data)s, %(headers)s)",
        {
            "event_id": uuid7(),
            "type": event.type,
            "aggregate_id": aggregate_id,
            "aggregate_version": aggregate_version,
            "data": Jsonb(event.model_dump(mode="json")),
            "headers": Jsonb(headers(principal)),
        },
    )


class BusConnection:
    """Connects in the background, again and again; a service lives on without it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AbstractConnection | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker is reachable right now."""
        return self._connection is not None and not self._connection.is_closed

    async def run(self) -> None:
        """Keep connected until cancelled."""
        try:
            while True:
                await self._connect_and_wait()
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            if self._connection:
                await self._connection.close()

    async def _connect_and_wait(self) -> None:
        try:
            self._connection = await aio_pika.connect(self._url, heartbeat=HEARTBEAT_SECONDS)
        except (aio_pika.exceptions.AMQPError, OSError, TimeoutError) as error:
            log.warning("event bus not reachable", extra={"fields": {"cause": repr(error)}})
            return
        closed = asyncio.Event()
        self._connection.close_callbacks.add(lambda *_: closed.set())
        await closed.wait()
        self._connection = None  # a connection that broke does not say that it is closed
        log.warning("event bus connection lost")
