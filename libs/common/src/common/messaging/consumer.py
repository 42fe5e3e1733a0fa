"""Consumers: events in, effects out, each exactly once: the inbox row is written in the effect's transaction."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.trace import SpanKind, Status, StatusCode

from common import telemetry
from common.database import Database, Transaction
from common.errors import UnavailableError
from common.messaging.bus import RETRY_SECONDS, Bus, BusUnavailableError, Delivery, Subscription
from common.messaging.envelope import Envelope, UnreadableEventError

log = logging.getLogger(__name__)

BATCH: Final = 200
PAUSE_SECONDS: Final = 1.0
THE_EVENTS_FAULT: Final = ("57014", "54000", "54001", "54011", "54023")
"""SQLSTATEs psycopg counts as operational though no outage is their cause: statement timeout, program limits."""
LINGER_SECONDS: Final = 0.01
"""While events come in a stream, so long is waited for more of them: a larger batch costs less per event."""

Handler = Callable[[Transaction, Sequence[Envelope]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A handler and the event types it wants; `*` at the end of one stands for any that begin so.

    It is called once per transaction with its share of the batch, in order of arrival, never twice with one event.
    It may raise `UnreadableEventError` (buried at once), anything else is tried again, alone, with a growing pause.
    """

    types: tuple[str, ...]
    handle: Handler

    def wants(self, event: Envelope) -> bool:
        """Whether this event is for it."""
        return any(
            event.type.startswith(wanted[:-1]) if wanted.endswith("*") else event.type == wanted
            for wanted in self.types
        )


class Inbox:
    """Runs subscribers on events in one transaction, and never again on an event they have seen."""

    def __init__(self, database: Database, schema: str, consumer: str, subscribers: Sequence[Subscriber]) -> None:
        self._database = database
        self._consumer = consumer
        self._subscribers = subscribers
        self._take = (
            f"INSERT INTO {schema}.inbox (consumer, event_id) SELECT %(consumer)s, unnest(%(ids)s::uuid[]) "
            "ON CONFLICT DO NOTHING RETURNING event_id"
        )

    @property
    def types(self) -> list[str]:
        """Everything its subscribers want."""
        return sorted({wanted for subscriber in self._subscribers for wanted in subscriber.types})

    async def apply(self, events: Sequence[Envelope]) -> None:
        """All effects of these events, or none."""
        # Replicas take inbox rows in the same order: two batches with the same events must not wait for each other.
        ids = sorted({event.id for event in events})
        async with self._database.transaction() as transaction:
            rows = await transaction.all(self._take, {"consumer": self._consumer, "ids": ids})
            new = {row["event_id"] for row in rows}
            fresh = {event.id: event for event in events if event.id in new}.values()
            for subscriber in self._subscribers:
                if wanted := [event for event in fresh if subscriber.wants(event)]:
                    await subscriber.handle(transaction, wanted)


class Consumer:
    """Takes the service's queue, batch by batch; a poisoned event steps aside and never stops the others."""

    def __init__(self, bus: Bus, queue: str, inbox: Inbox) -> None:
        self._bus = bus
        self._queue = queue
        self._inbox = inbox

    async def run(self) -> None:
        """Consume until cancelled; without a broker or database it waits and goes on."""
        while True:
            try:
                async with self._bus.subscribe(self._queue, self._inbox.types) as subscription:
                    log.info("consuming events")
                    while True:
                        if await self._work(subscription) > 1:
                            await asyncio.sleep(LINGER_SECONDS)
            except BusUnavailableError as error:
                log.info("not consuming", extra={"fields": {"cause": str(error)}})
            await asyncio.sleep(PAUSE_SECONDS)

    async def _work(self, subscription: Subscription) -> int:
        """Take a batch; its size."""
        deliveries = await subscription.receive(BATCH)
        readable = [pair for delivery in deliveries if (pair := await self._read(subscription, delivery))]
        if not readable:
            return len(deliveries)
        try:
            await self._apply([event for event, _ in readable])
        except Exception as error:  # noqa: BLE001 - one of them is to blame: which?
            if len(readable) > 1:
                log.info("batch failed, trying one by one", extra={"fields": {"cause": type(error).__name__}})
            for event, delivery in readable:
                await self._apply_alone(subscription, event, delivery)
        else:
            await subscription.ack([delivery for _, delivery in readable])
        return len(deliveries)

    async def _read(self, subscription: Subscription, delivery: Delivery) -> tuple[Envelope, Delivery] | None:
        try:
            return Envelope.decode(delivery.body), delivery
        except UnreadableEventError as error:
            log.error("unreadable event buried", extra={"fields": {"queue": self._queue, "cause": str(error)}})  # noqa: TRY400
            await subscription.bury(delivery, str(error))
            return None

    async def _apply_alone(self, subscription: Subscription, event: Envelope, delivery: Delivery) -> None:
        try:
            await self._apply([event])
        except UnreadableEventError as error:
            self._complain("event buried", event, delivery, error)
            await subscription.bury(delivery, str(error))
        except Exception as error:  # noqa: BLE001 - whatever a handler does, its neighbours go on
            if delivery.failures < len(RETRY_SECONDS):
                self._complain("event failed, will be tried again", event, delivery, error)
                await subscription.retry(delivery, RETRY_SECONDS[delivery.failures])
            else:
                self._complain("event buried", event, delivery, error)
                await subscription.bury(delivery, f"{type(error).__name__}: {error}")
        else:
            await subscription.ack([delivery])

    def _complain(self, message: str, event: Envelope, delivery: Delivery, error: Exception) -> None:
        fields = {"queue": self._queue, "event": str(event.id), "type": event.type, "failures": delivery.failures}
        log.error(message, extra={"fields": {**fields, "error": type(error).__name__}})

    async def _apply(self, events: Sequence[Envelope]) -> None:
        """Apply, waiting out what is no fault of the events: a database or another service that is away."""
        with contextlib.ExitStack() as stack:
            for event in events:
                stack.enter_context(_span(event))
            while True:
                try:
                    return await self._inbox.apply(events)
                except UnavailableError as error:
                    if getattr(error.__cause__, "sqlstate", None) in THE_EVENTS_FAULT:
                        raise
                    log.warning("consumer waits", extra={"fields": {"cause": type(error).__name__}})
                    await asyncio.sleep(PAUSE_SECONDS)


@contextlib.contextmanager
def _span(event: Envelope) -> Iterator[None]:
    active = telemetry.start(f"process {event.type}", SpanKind.CONSUMER, event.traceparent)
    try:
        yield
    except BaseException:
        if active:
            active.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        if active:
            active.end()
