"""Adapters under test, each as a maker of buses that are one broker's clients."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

import boto3
import pytest
from botocore.parsers import ResponseParserError
from moto.server import ThreadedMotoServer

from common.identifiers import uuid7
from common.messaging import Bus, Envelope
from common.messaging.aws import AwsBus, AwsPlace, filter_policy
from common.messaging.aws import dead_queue as aws_dead_queue
from common.messaging.bus import CRASH_LIMIT, Subscription
from common.messaging.rabbit import RabbitBus
from common.testing.memory_bus import MemoryBus


@dataclass
class Broker:
    """A broker with one connected client, and a way to restart it."""

    bus: Bus
    stop: Callable[[], Awaitable[None]]
    start: Callable[[], Awaitable[None]]
    queue: str
    prepare: Callable[[str, list[str]], None] = lambda _queue, _types: None
    """Makes a queue where consumers may not."""

    @property
    def type(self) -> str:
        """A type nobody else uses."""
        return f"{self.queue}.thing.happened.v1"

    @contextlib.asynccontextmanager
    async def subscribe(self, queue: str | None = None, types: list[str] | None = None) -> AsyncIterator[Subscription]:
        """Open a queue, made if there is none."""
        place = (queue or self.queue, types or [self.type])
        if place not in self.made:
            self.made.append(place)
            await asyncio.to_thread(self.prepare, *place)
        async with self.bus.subscribe(*place) as subscription:
            yield subscription

    made: list[tuple[str, list[str]]] = field(default_factory=list)

    def event(self, version: int = 1, aggregate: UUID | None = None, **data: object) -> Envelope:
        return Envelope(
            id=uuid7(),
            type=self.type,
            aggregate_id=aggregate or uuid7(),
            version=version,
            time=datetime.now(UTC),
            data=data,
            extensions={"actor": None, "traceparent": None},
        )

    def of_type(self, type_: str, **data: object) -> Envelope:
        return replace(self.event(**data), type=type_)


async def until(condition, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def connected(bus):
    task = asyncio.create_task(bus.run())
    await until(lambda: bus.connected)
    yield bus
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(params=["memory", "rabbitmq", "aws"])
async def broker(request, backing):
    """One broker of each kind."""
    name = f"test-{uuid7().hex[-12:]}"
    async with {"memory": memory, "rabbitmq": rabbit, "aws": aws}[request.param](name, backing) as made:
        yield made


@contextlib.asynccontextmanager
async def memory(name, _backing):
    bus = MemoryBus()

    async def stop():
        bus.restart()

    async def start():
        pass

    yield Broker(bus, stop, start, name)


@contextlib.asynccontextmanager
async def rabbit(name, backing):
    server = backing["rabbitmq"]

    async def stop():
        await asyncio.to_thread(server.kill)
        await until(lambda: not bus.connected)

    async def start():
        await asyncio.to_thread(server.start)
        await until(lambda: bus.connected, 40)

    async with connected(RabbitBus(backing.amqp_url)) as bus:
        yield Broker(bus, stop, start, name)


@contextlib.asynccontextmanager
async def aws(name, _backing):
    """moto: its state lives in this process, so its server can be away for a while."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(variable, "testing")
        server = [moto(0)]
        host, port = server[0].get_host_and_port()
        place = AwsPlace(
            f"arn:aws:sns:eu-central-1:123456789012:{name}", f"{name}-", "eu-central-1", f"http://{host}:{port}", 2
        )

        async def stop():
            await asyncio.to_thread(server[0].stop)

        async def start():
            server[0] = await asyncio.to_thread(moto, port)
            await until(lambda: bus.connected, 40)

        make_topic(place, name)
        async with connected(AwsBus(place)) as bus:
            yield Broker(bus, stop, start, name, lambda queue, types: make_queue(place, queue, types))
        server[0].stop()


def moto(port):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    return server


def client(place, service):
    return boto3.client(service, region_name=place.region, endpoint_url=place.endpoint_url)


def make_topic(place, name):
    """A fresh moto answered its first request with an internal error once: then its second answer counts."""
    with contextlib.suppress(ResponseParserError):
        client(place, "sns").create_topic(Name=name)
        return
    client(place, "sns").create_topic(Name=name)


def make_queue(place, queue, types):
    """What Terraform makes for a consumer: queue, dead letter queue, subscription with its filter policy."""
    sqs, sns = client(place, "sqs"), client(place, "sns")
    arns = {}
    for name in (aws_dead_queue(queue), queue):
        redrive = {"deadLetterTargetArn": arns.get(aws_dead_queue(queue)), "maxReceiveCount": CRASH_LIMIT}
        attributes = {"RedrivePolicy": json.dumps(redrive)} if arns else {}
        url = sqs.create_queue(QueueName=place.queue_prefix + name, Attributes=attributes)["QueueUrl"]
        arns[name] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = {"RawMessageDelivery": "true", "FilterPolicy": json.dumps(filter_policy(types))}
    sns.subscribe(TopicArn=place.topic_arn, Protocol="sqs", Endpoint=arns[queue], Attributes=policy)
