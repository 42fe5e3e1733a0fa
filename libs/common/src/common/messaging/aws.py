"""SNS and SQS adapter: one standard topic; per consumer a standard queue with a filter policy and a dead letter queue.

Terraform makes topic, queues and subscriptions from `filter_policy`; a queue's name is a prefix and its consumer's.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import aioboto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from common.messaging.bus import BusUnavailableError, DeadLetter, Delivery, Verdict
from common.messaging.envelope import Envelope

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_AT_ONCE: Final = 10
"""Entries of one SNS or SQS batch request."""
PARALLEL: Final = 8
LONG_POLL_SECONDS: Final = 20
VISIBILITY_SECONDS: Final = 60
CHECK_SECONDS: Final = 15.0
RECONNECT_SECONDS: Final = 1.0
LOST = (BotoCoreError, ClientError, OSError, TimeoutError)
MISSING_QUEUE: Final = "AWS.SimpleQueueService.NonExistentQueue"


@dataclass(frozen=True, slots=True)
class AwsPlace:
    """Where topic and queues are; `endpoint_url` only for a stand-in of AWS."""

    topic_arn: str
    queue_prefix: str
    region: str
    endpoint_url: str | None = None
    visibility_seconds: int = VISIBILITY_SECONDS
    """How long a received message stays away from other consumers."""


def filter_policy(types: Sequence[str]) -> dict[str, list[Any]]:
    """SNS filter policy over message attributes that lets these event types through (`*` in the end: a prefix)."""
    return {"type": [{"prefix": wanted[:-1]} if wanted.endswith("*") else wanted for wanted in types]}


def dead_queue(queue: str) -> str:
    """Name of the queue of dead letters."""
    return f"{queue}-dead"


class AwsBus:
    """Publishes to the topic and takes from queues; both over HTTP, so that "connected" is the last answer."""

    def __init__(self, place: AwsPlace) -> None:
        self._place = place
        self._sns: Any = None
        self._sqs: Any = None
        self._urls: dict[str, str] = {}
        self.connected = False

    async def run(self) -> None:
        """Hold the clients open and keep asking whether AWS is there, until cancelled."""
        settings: dict[str, Any] = {
            "region_name": self._place.region,
            "endpoint_url": self._place.endpoint_url,
            "config": Config(connect_timeout=2, read_timeout=LONG_POLL_SECONDS + 5, retries={"total_max_attempts": 2}),
        }
        session = aioboto3.Session()
        async with session.client("sns", **settings) as self._sns, session.client("sqs", **settings) as self._sqs:
            while True:
                await self._check()
                await asyncio.sleep(CHECK_SECONDS if self.connected else RECONNECT_SECONDS)

    async def _check(self) -> None:
        try:
            await self._sns.get_topic_attributes(TopicArn=self._place.topic_arn)
        except LOST as error:
            self.connected = False
            log.warning("event bus not reachable", extra={"fields": {"cause": type(error).__name__}})
        else:
            self.connected = True

    async def publish(self, envelopes: Sequence[Envelope]) -> Sequence[Exception | None]:
        """Publish in batches of ten, some of them side by side."""
        if not self.connected:
            raise BusUnavailableError("SNS is not reachable")
        gate = asyncio.Semaphore(PARALLEL)

        async def send(batch: Sequence[Envelope]) -> list[Exception | None]:
            async with gate:
                return await self._publish(batch)

        outcomes = await asyncio.gather(*(send(batch) for batch in _batches(envelopes)))
        return [outcome for batch in outcomes for outcome in batch]

    async def _publish(self, batch: Sequence[Envelope]) -> list[Exception | None]:
        entries = [
            {
                "Id": str(number),
                "Message": envelope.encode().decode(),
                "MessageAttributes": {"type": _text(envelope.type)},
            }
            for number, envelope in enumerate(batch)
        ]
        try:
            answer = await self._sns.publish_batch(TopicArn=self._place.topic_arn, PublishBatchRequestEntries=entries)
        except LOST as error:
            self.connected = False
            return [BusUnavailableError(type(error).__name__)] * len(batch)
        failed = {int(entry["Id"]): entry.get("Code", "unknown") for entry in answer.get("Failed", [])}
        return [BusUnavailableError(failed[n]) if n in failed else None for n in range(len(batch))]

    @asynccontextmanager
    async def subscribe(self, queue: str, types: Sequence[str]) -> AsyncIterator["AwsSubscription"]:
        """Open the consumer's queue; which types it gets was decided when Terraform made it."""
        del types
        try:
            urls = [await self._url(name) for name in (queue, dead_queue(queue))]
        except LOST as error:
            raise BusUnavailableError(f"queue {queue} is not reachable: {type(error).__name__}") from error
        subscription = AwsSubscription(self._sqs, urls[0], urls[1], self._place.visibility_seconds)
        try:
            yield subscription
        finally:
            await subscription.close()

    async def _url(self, queue: str) -> str:
        if self._sqs is None:
            raise BusUnavailableError("SQS is not reachable yet")
        if queue not in self._urls:
            answer = await self._sqs.get_queue_url(QueueName=self._place.queue_prefix + queue)
            self._urls[queue] = answer["QueueUrl"]
        return self._urls[queue]

    async def sift(self, queue: str, judge: Callable[[DeadLetter], Verdict]) -> int:
        """Take all dead letters in hand, judge each, put back what is kept."""
        try:
            url, dead_url = await self._url(queue), await self._url(dead_queue(queue))
        except ClientError as error:
            if error.response["Error"]["Code"] == MISSING_QUEUE:
                return 0
            raise BusUnavailableError(type(error).__name__) from error
        dead = AwsSubscription(self._sqs, dead_url, dead_url, self._place.visibility_seconds)
        taken = await dead.drain()
        kept = []
        for message in taken:
            verdict = judge(_dead_letter(message))
            if verdict is Verdict.REPLAY:
                await self._sqs.send_message(QueueUrl=url, MessageBody=message["Body"])
            if verdict is Verdict.KEEP:
                kept.append(message)
            else:
                await self._sqs.delete_message(QueueUrl=dead_url, ReceiptHandle=message["ReceiptHandle"])
        await dead.release([message["ReceiptHandle"] for message in kept])
        return len(taken)


class AwsSubscription:
    """Takes messages from one queue."""

    def __init__(self, sqs: Any, url: str, dead_url: str, visibility_seconds: int) -> None:
        self._sqs = sqs
        self._url = url
        self._dead_url = dead_url
        self._visibility_seconds = visibility_seconds
        self._held: set[str] = set()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Long poll, then take what else is there."""
        messages: list[dict[str, Any]] = []
        while not messages:
            messages = await self._receive(min(limit, MOST_AT_ONCE), LONG_POLL_SECONDS)
        while len(messages) < limit:
            wanted = min(limit - len(messages), MOST_AT_ONCE)
            more = await self._receive(wanted, 0)
            messages += more
            if len(more) < wanted:
                break
        self._held |= {message["ReceiptHandle"] for message in messages}
        return [Delivery(item["Body"].encode(), _failures(item), item["ReceiptHandle"]) for item in messages]

    async def drain(self) -> list[dict[str, Any]]:
        """Everything that is there now."""
        messages: list[dict[str, Any]] = []
        while more := await self._receive(MOST_AT_ONCE, 1):
            messages += more
        return messages

    async def _receive(self, limit: int, wait_seconds: int) -> list[dict[str, Any]]:
        answer = await self._calling(
            self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=wait_seconds,
                VisibilityTimeout=self._visibility_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
                MessageAttributeNames=["All"],
            )
        )
        found: list[dict[str, Any]] = answer.get("Messages", [])
        return found

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Delete, ten in a request."""
        handles = [delivery.handle for delivery in deliveries]
        for batch in _batches(handles):
            entries = [{"Id": str(n), "ReceiptHandle": handle} for n, handle in enumerate(batch)]
            await self._calling(self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries))
        self._held.difference_update(handles)

    async def retry(self, delivery: Delivery, after: float) -> None:
        """Let it become visible again later; SQS counts how often it was received."""
        await self._calling(
            self._sqs.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=delivery.handle, VisibilityTimeout=math.ceil(after)
            )
        )
        self._held.discard(delivery.handle)

    async def bury(self, delivery: Delivery, reason: str) -> None:
        """Send a copy with the reason to the dead letters, then delete."""
        attributes = {"reason": reason[:500] or "-", "died_at": datetime.now(UTC).isoformat()}
        await self._calling(
            self._sqs.send_message(
                QueueUrl=self._dead_url,
                MessageBody=delivery.body.decode(errors="replace"),
                MessageAttributes={name: _text(value) for name, value in attributes.items()}
                | {"failures": _text(str(delivery.failures))},
            )
        )
        await self.ack([delivery])

    async def release(self, handles: Sequence[str]) -> None:
        """Make messages visible to others at once."""
        for batch in _batches(handles):
            entries = [
                {"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": 0} for n, handle in enumerate(batch)
            ]
            await self._calling(self._sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries))

    async def close(self) -> None:
        """Give back what was not acknowledged; if that fails, it returns by itself after the visibility timeout."""
        with suppress(BusUnavailableError):
            await self.release(list(self._held))

    async def _calling(self, call: Any) -> Any:
        try:
            return await call
        except LOST as error:
            raise BusUnavailableError(f"SQS: {type(error).__name__}") from error


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + MOST_AT_ONCE] for start in range(0, len(items), MOST_AT_ONCE))


def _text(value: str) -> dict[str, str]:
    printable = "".join(character if character.isprintable() else " " for character in value)  # SQS refuses others
    return {"DataType": "String", "StringValue": printable}


def _failures(message: dict[str, Any]) -> int:
    return int(message["Attributes"]["ApproximateReceiveCount"]) - 1


def _dead_letter(message: dict[str, Any]) -> DeadLetter:
    noted = {name: item["StringValue"] for name, item in message.get("MessageAttributes", {}).items()}
    return DeadLetter(
        message["Body"].encode(),
        noted.get("reason", "delivery limit reached: its consumer ended without a word each time"),
        int(noted.get("failures", 0)),
        noted.get("died_at", ""),
    )
