"""What only RabbitMQ can promise."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

import aio_pika
import pytest
from deploy.chaos.line import Line

from common.identifiers import uuid7
from common.messaging import BusUnavailableError, Consumer, Envelope, UnroutableError, Verdict, rabbit
from common.messaging.rabbit import RabbitBus

from .conftest import Broker, connected, until


async def test_an_event_nobody_subscribed_to_is_not_taken(backing, monkeypatch):
    """Otherwise the relay would count it as sent, and the log would never have it (T30 of the sync evidence)."""
    monkeypatch.setattr(rabbit, "EXCHANGE", f"test-{uuid7().hex[-12:]}")  # the fleet's log takes everything
    async with connected(RabbitBus(backing.amqp_url)) as bus:
        event = Broker(bus, None, None, "nobody").event()
        (outcome,) = await bus.publish([event])
        assert isinstance(outcome, UnroutableError)


async def test_what_is_published_before_the_log_first_came_up_waits_for_it(backing):
    """Another consumer took it: the broker would have been content without the log."""
    name = f"test-{uuid7().hex[-12:]}"
    broker = Broker(None, None, None, name)
    async with connected(RabbitBus(backing.amqp_url, f"{name}-log")) as bus:
        broker.bus = bus
        async with broker.subscribe():
            event = broker.event()
            assert await bus.publish([event]) == [None]
        async with bus.subscribe(f"{name}-log", ["*"]) as log:
            seen = set()
            async with asyncio.timeout(10):
                while event.id not in seen:
                    deliveries = await log.receive(10)
                    seen |= {Envelope.decode(delivery.body).id for delivery in deliveries}
                    await log.ack(deliveries)


@pytest.mark.parametrize("failure", [StopAsyncIteration(), EOFError(), ConnectionResetError(), TimeoutError()])
async def test_a_connection_cut_in_its_handshake_is_tried_again(backing, monkeypatch, failure):
    """What aiormq raises then depends on how far it had come; `make chaos` met StopAsyncIteration."""
    connect, failures = aio_pika.Connection.connect, [failure]

    async def cut_at_first(connection):
        if failures:
            raise failures.pop()
        await connect(connection)

    monkeypatch.setattr(aio_pika.Connection, "connect", cut_at_first)
    async with connected(RabbitBus(backing.amqp_url)):
        assert failures == []


async def test_connections_that_broke_or_never_were_are_closed(backing, monkeypatch):
    """aio-pika tries to close others when they are collected, which works in their own loop only."""
    monkeypatch.setattr(rabbit, "RECONNECT_SECONDS", 0.05)
    made, broker = [], urlsplit(backing.amqp_url)

    class Remembered(aio_pika.Connection):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(aio_pika, "Connection", Remembered)
    line = Line(broker.port)
    await line.open()
    async with connected(RabbitBus(backing.amqp_url.replace(f":{broker.port}", f":{line.port}"))) as bus:
        line.close()
        await until(lambda: len(made) >= 3)
        assert not bus.connected
    assert [connection.is_closed for connection in made] == [True] * len(made)


async def test_a_consumer_survives_a_line_that_goes_dead_while_it_waits_for_a_confirm(backing, monkeypatch):
    """The publisher then hangs up their common connection, and aiormq cancels what the consumer waits for."""
    monkeypatch.setattr(rabbit, "TIMEOUT_SECONDS", 1.0)
    name, broker = f"test-{uuid7().hex[-12:]}", urlsplit(backing.amqp_url)
    line = Line(broker.port)
    await line.open()
    async with connected(RabbitBus(backing.amqp_url.replace(f":{broker.port}", f":{line.port}"))) as bus:
        made = Broker(bus, None, None, name)
        handled = []

        class Failing:
            types = (made.type,)

            async def apply(self, events):
                handled.extend(event.id for event in events)
                if len(handled) <= 2:  # in its batch, then alone
                    line.go_dead()
                    raise ZeroDivisionError

        consuming = asyncio.create_task(Consumer(bus, name, Failing()).run())
        async with asyncio.timeout(15):
            while not handled:
                with suppress(BusUnavailableError):
                    await bus.publish([made.event()])
                await asyncio.sleep(0.05)
        with suppress(BusUnavailableError):
            await bus.publish([made.event()])
        last = made.event()
        async with asyncio.timeout(30):
            while last.id not in handled and not consuming.done():
                with suppress(BusUnavailableError):
                    await bus.publish([last])
                await asyncio.sleep(0.3)
        assert not consuming.done()
        consuming.cancel()
    line.close()


async def test_looking_at_dead_letters_does_not_use_them_up(backing):
    """RabbitMQ 4 has a delivery limit of 20 on every quorum queue; here it is declared."""
    name, letters = f"test-{uuid7().hex[-12:]}", []
    async with await aio_pika.connect(backing.amqp_url) as connection:
        channel = await connection.channel()
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": 20}
        await channel.declare_queue(rabbit.dead_queue(name), durable=True, arguments=arguments)
        message = aio_pika.Message(b"a letter", headers={rabbit.REASON: "because"})
        await channel.default_exchange.publish(message, rabbit.dead_queue(name))
    async with connected(RabbitBus(backing.amqp_url)) as bus:
        for _ in range(30):
            letters.clear()
            assert await bus.sift(name, lambda letter: letters.append(letter) or Verdict.KEEP) == 1
    assert (letters[0].body, letters[0].reason) == (b"a letter", "because")
