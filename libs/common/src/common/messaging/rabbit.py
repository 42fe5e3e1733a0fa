"""RabbitMQ adapter: one topic exchange, per consumer a quorum queue, retry queues with a time to live, a dead one."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.connection import make_url
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, PublishError

from common.messaging.bus import (
    CRASH_LIMIT,
    RETRY_SECONDS,
    BusUnavailableError,
    DeadLetter,
    Delivery,
    UnroutableError,
    Verdict,
)
from common.messaging.envelope import MEDIA_TYPE, Envelope

log = logging.getLogger(__name__)

EXCHANGE: Final = "mdcreator.events"
RECONNECT_SECONDS: Final = 1.0
HEARTBEAT_SECONDS: Final = 10
TIMEOUT_SECONDS: Final = 10.0
PREFETCH: Final = 400
FAILURES: Final = "x-failures"
REASON: Final = "x-reason"
MOST_LOOKS: Final = 5
"""After so many looks a dead letter is put back as a new one: RabbitMQ 4 drops what was delivered 20 times."""
DIED_AT: Final = "x-died-at"
LOST = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)
CUT_OFF = (*LOST, EOFError, StopAsyncIteration)
"""How aiormq tells of a connection that broke during its handshake."""


@contextmanager
def _bus_calls(what: str) -> Iterator[None]:
    """Whatever tells of a lost connection becomes `BusUnavailableError`.

    aiormq also cancels what waits for an answer on a connection that is closed: nobody cancelled our task then.
    """
    try:
        yield
    except LOST as error:
        raise BusUnavailableError(f"{what}: {error!r}") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BusUnavailableError(f"{what}: connection closed") from error


async def _close(connection: AbstractConnection) -> None:
    with suppress(Exception):
        await asyncio.wait_for(connection.close(), 1.0)


def dead_queue(queue: str) -> str:
    """Name of the queue of dead letters."""
    return f"{queue}.dead"


def retry_queue(queue: str, seconds: float) -> str:
    """Name of the queue whose messages return after a while."""
    return f"{queue}.retry.{round(seconds * 1000)}ms"


class RabbitBus:
    """Connects in the background, again and again; a service lives on without it.

    `log_queue` must get every event ever published: publishers declare it themselves, since an event that was routed to
    another queue only, before the log's consumer first came up, would be missing there for ever.
    """

    def __init__(self, url: str, log_queue: str | None = None) -> None:
        self._url = url
        self._log_queue = log_queue
        self._connection: AbstractConnection | None = None
        self._outgoing: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None
        self._publishing = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Whether the broker is reachable right now."""
        return self._connection is not None and not self._connection.is_closed

    async def run(self) -> None:
        """Keep connected until cancelled."""
        while True:
            await self._connect_and_wait()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _connect_and_wait(self) -> None:
        connection = aio_pika.Connection(make_url(self._url, heartbeat=HEARTBEAT_SECONDS))
        closed = asyncio.Event()
        connection.close_callbacks.add(lambda *_: closed.set())
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await connection.connect()
            self._connection, self._outgoing, self._exchange = connection, None, None
            await closed.wait()
            log.warning("event bus connection lost")
        except CUT_OFF as error:
            log.warning("event bus not reachable", extra={"fields": {"cause": repr(error)}})
        finally:
            self._connection = None
            await _close(connection)  # one that broke, or never was, does not count as closed by itself

    async def publish(self, envelopes: Sequence[Envelope]) -> Sequence[Exception | None]:
        """Publish with confirms; what nobody would receive comes back as `UnroutableError`."""
        async with self._publishing:
            exchange = await self._open_exchange()
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    results = await asyncio.gather(
                        *(exchange.publish(_message(item), item.type, mandatory=True) for item in envelopes),
                        return_exceptions=True,
                    )
            except TimeoutError as error:  # half open: nobody knows what arrived
                await self._hang_up()
                raise BusUnavailableError("RabbitMQ does not confirm") from error
        return [_outcome(result) for result in results]

    async def _open_exchange(self) -> AbstractExchange:
        if self._exchange is None or self._outgoing is None or self._outgoing.is_closed:
            with _bus_calls("RabbitMQ is not reachable"):
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    self._outgoing = await self._channel()
                    if self._log_queue:
                        await _declare_queue(self._outgoing, self._log_queue, ["*"])
                    self._exchange = await _declare_exchange(self._outgoing)
        return self._exchange

    async def _channel(self) -> AbstractChannel:
        if self._connection is None or self._connection.is_closed:
            raise BusUnavailableError("RabbitMQ is not reachable")
        return await self._connection.channel(publisher_confirms=True, on_return_raises=True)

    async def _hang_up(self) -> None:
        if self._connection:
            await _close(self._connection)

    @asynccontextmanager
    async def subscribe(self, queue: str, types: Sequence[str]) -> AsyncIterator["RabbitSubscription"]:
        """Declare queue, bindings, retry and dead letter queues, and consume."""
        with _bus_calls("RabbitMQ is not reachable"):
            channel = await self._channel()
        try:
            subscription = RabbitSubscription(queue, channel)
            with _bus_calls(f"cannot consume {queue}"):
                await subscription.open(types)
            yield subscription
        finally:
            with suppress(BusUnavailableError), _bus_calls("closing"):
                await channel.close()

    async def sift(self, queue: str, judge: Callable[[DeadLetter], Verdict]) -> int:
        """Take all dead letters in hand, judge each, put back what is kept."""
        channel = await self._channel()
        try:
            dead = await channel.declare_queue(dead_queue(queue), passive=True)
            taken = []
            while message := await dead.get(fail=False):
                taken.append(message)
            for message in taken:
                verdict = judge(_dead_letter(message))
                if verdict is Verdict.REPLAY:
                    await _send(channel, queue, message.body, {})
                elif verdict is Verdict.KEEP and _looked_at(message) > MOST_LOOKS:
                    await _send(channel, dead_queue(queue), message.body, dict(message.headers))
                elif verdict is Verdict.KEEP:
                    continue
                await message.ack()
            return len(taken)
        except aio_pika.exceptions.ChannelNotFoundEntity:
            return 0  # a queue nobody ever consumed has no dead letters
        finally:
            await channel.close()  # what was kept goes back to its place


class RabbitSubscription:
    """One channel that consumes one queue."""

    def __init__(self, queue: str, channel: AbstractChannel) -> None:
        self._queue = queue
        self._channel = channel
        self._arrived: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()

    async def open(self, types: Sequence[str]) -> None:
        """Declare everything and start consuming."""
        channel = self._channel
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await _declare_queue(channel, self._queue, types)
        channel.close_callbacks.add(lambda *_: self._arrived.put_nowait(None))
        await queue.consume(self._arrived.put)

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """What has arrived, after waiting for the first."""
        messages = [await self._next()]
        while len(messages) < limit and not self._arrived.empty():
            messages.append(await self._next())
        return [Delivery(message.body, _failures(message), message) for message in messages]

    async def _next(self) -> AbstractIncomingMessage:
        message = await self._arrived.get()
        if message is None:
            raise BusUnavailableError("RabbitMQ connection lost")
        return message

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge each: single acks of a batch travel in one write."""
        await self._quietly(*(delivery.handle.ack() for delivery in deliveries))

    async def retry(self, delivery: Delivery, after: float) -> None:
        """Send a copy round by a retry queue, then acknowledge: a crash between the two only doubles it."""
        headers = {FAILURES: delivery.failures + 1}
        await self._quietly(_send(self._channel, retry_queue(self._queue, after), delivery.body, headers))
        await self.ack([delivery])

    async def bury(self, delivery: Delivery, reason: str) -> None:
        """Send a copy with the reason to the dead letters, then acknowledge."""
        headers = {FAILURES: delivery.failures, REASON: reason[:500], DIED_AT: datetime.now(UTC).isoformat()}
        await self._quietly(_send(self._channel, dead_queue(self._queue), delivery.body, headers))
        await self.ack([delivery])

    async def _quietly(self, *work: Any) -> None:
        with _bus_calls("RabbitMQ connection lost"):
            await asyncio.gather(*work)


def _message(envelope: Envelope) -> aio_pika.Message:
    return _persistent(envelope.encode(), str(envelope.id), {})


def _persistent(body: bytes, message_id: str | None, headers: dict[str, Any]) -> aio_pika.Message:
    return aio_pika.Message(
        body,
        headers=headers,
        message_id=message_id,
        content_type=MEDIA_TYPE,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


async def _send(channel: AbstractChannel, queue: str, body: bytes, headers: dict[str, Any]) -> None:
    await channel.default_exchange.publish(_persistent(body, None, headers), queue, mandatory=True)


async def _declare_exchange(channel: AbstractChannel) -> AbstractExchange:
    return await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)


async def _declare_queue(channel: AbstractChannel, name: str, types: Sequence[str]) -> AbstractQueue:
    """The consumer's queue with its bindings, and the queues for retries and dead letters beside it."""
    exchange = await _declare_exchange(channel)
    await channel.declare_queue(dead_queue(name), durable=True, arguments={"x-queue-type": "quorum"})
    arguments = _deadly(dead_queue(name), {"x-delivery-limit": CRASH_LIMIT})
    queue = await channel.declare_queue(name, durable=True, arguments=arguments)
    for seconds in RETRY_SECONDS:
        arguments = _deadly(name, {"x-message-ttl": round(seconds * 1000)})
        await channel.declare_queue(retry_queue(name, seconds), durable=True, arguments=arguments)
    for pattern in types:
        await queue.bind(exchange, pattern.removesuffix("*") + "#" if pattern.endswith("*") else pattern)
    return queue


def _deadly(target: str, more: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a quorum queue whose dead letters are confirmed by `target` before they leave it."""
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": target,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        **more,
    }


def _failures(message: AbstractIncomingMessage) -> int:
    value = message.headers.get(FAILURES, 0)
    return value if isinstance(value, int) else 0


def _looked_at(message: AbstractIncomingMessage) -> int:
    count = message.headers.get("x-delivery-count", 0)
    return count if isinstance(count, int) else 0


def _dead_letter(message: AbstractIncomingMessage) -> DeadLetter:
    reason = str(message.headers.get(REASON) or "delivery limit reached: its consumer ended without a word each time")
    return DeadLetter(message.body, reason, _failures(message), str(message.headers.get(DIED_AT) or ""))


def _outcome(result: object) -> Exception | None:
    if isinstance(result, PublishError):
        return UnroutableError("nobody has subscribed to this event")
    if isinstance(result, (*LOST, asyncio.CancelledError)):
        return BusUnavailableError(repr(result))
    if isinstance(result, BaseException):
        raise result
    return None
