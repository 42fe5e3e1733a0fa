"""What every bus adapter must do; run against all of them."""

import asyncio

import pytest

from common.messaging import BusUnavailableError, Envelope, Verdict
from common.messaging.bus import RETRY_SECONDS


async def received(subscription, count, limit=200):
    deliveries = []
    async with asyncio.timeout(20):
        while len(deliveries) < count:
            deliveries += await subscription.receive(limit)
    return deliveries


def events_of(deliveries):
    return [Envelope.decode(delivery.body) for delivery in deliveries]


async def letters(broker):
    found = []

    def note(letter):
        found.append(letter)
        return Verdict.KEEP

    await broker.bus.sift(broker.queue, note)
    return found


async def dead(broker, count):
    async with asyncio.timeout(20):
        while len(found := await letters(broker)) < count:
            await asyncio.sleep(0.1)
    return found


async def test_published_events_arrive_whole(broker):
    event = broker.event(3, title="Grüße \U0001f30d", n=[1, {"a": None}])
    async with broker.subscribe() as subscription:
        assert await broker.bus.publish([event]) == [None]
        (delivery,) = await received(subscription, 1)
        assert delivery.failures == 0
        assert events_of([delivery]) == [event_as_read(event)]
        await subscription.ack([delivery])


def event_as_read(event):
    return Envelope.decode(event.encode())


async def test_only_wanted_types_arrive_exact_or_by_prefix(broker):
    other = f"{broker.queue}.other.happened.v1"
    longer = f"{broker.type}2"
    async with (
        broker.subscribe(f"{broker.queue}-all", [f"{broker.queue}.*"]) as everything,
        broker.subscribe() as exact,
    ):
        await broker.bus.publish([broker.of_type(other), broker.of_type(longer), broker.event()])
        assert [event.type for event in events_of(await received(exact, 1))] == [broker.type]
        found = {event.type for event in events_of(await received(everything, 3))}
        assert found == {other, longer, broker.type}


async def test_every_queue_gets_its_own_copy(broker):
    async with (
        broker.subscribe() as first,
        broker.subscribe(f"{broker.queue}-2") as second,
    ):
        event = broker.event()
        await broker.bus.publish([event])
        for subscription in (first, second):
            (delivery,) = await received(subscription, 1)
            assert events_of([delivery])[0].id == event.id
            await subscription.ack([delivery])


async def test_a_closed_queue_keeps_what_comes_meanwhile(broker):
    async with broker.subscribe():
        pass
    event = broker.event()
    assert await broker.bus.publish([event]) == [None]
    async with broker.subscribe() as subscription:
        (delivery,) = await received(subscription, 1)
        assert events_of([delivery])[0].id == event.id
        await subscription.ack([delivery])


async def test_what_was_not_acknowledged_comes_again(broker):
    events = [broker.event() for _ in range(3)]
    async with broker.subscribe() as subscription:
        await broker.bus.publish(events)
        deliveries = await received(subscription, 3)
        await subscription.ack([item for item in deliveries if events_of([item])[0].id == events[1].id])
    async with broker.subscribe() as subscription:
        again = await received(subscription, 2)
        assert {event.id for event in events_of(again)} == {events[0].id, events[2].id}
        await subscription.ack(again)


async def test_batches_are_bounded_and_large_numbers_arrive_completely(broker):
    sent = [broker.event(n) for n in range(1, 301)]
    async with broker.subscribe() as subscription:
        publishing = asyncio.create_task(broker.bus.publish(sent))
        seen = set()
        async with asyncio.timeout(60):
            while len(seen) < len(sent):
                batch = await subscription.receive(50)
                assert 1 <= len(batch) <= 50
                seen |= {event.id for event in events_of(batch)}
                await subscription.ack(batch)
        assert set(await publishing) == {None}
    assert seen == {event.id for event in sent}


async def test_a_retried_event_comes_again_later_with_one_failure_more(broker):
    async with broker.subscribe() as subscription:
        poisoned, healthy = broker.event(), broker.event()
        await broker.bus.publish([poisoned])
        (delivery,) = await received(subscription, 1)
        before = asyncio.get_running_loop().time()
        await subscription.retry(delivery, RETRY_SECONDS[0])
        await broker.bus.publish([healthy])
        first, second = await received(subscription, 2, limit=1)
        took = asyncio.get_running_loop().time() - before
        assert events_of([first])[0].id == healthy.id, "it does not stop the queue"
        assert events_of([second])[0].id == poisoned.id
        assert (first.failures, second.failures) == (0, 1)
        assert took >= RETRY_SECONDS[0] * 0.9
        await subscription.ack([first, second])


async def test_dead_letters_are_kept_replayed_dropped(broker):
    async with broker.subscribe() as subscription:
        events = [broker.event() for _ in range(3)]
        await broker.bus.publish(events)
        for delivery in await received(subscription, 3):
            await subscription.bury(delivery, "KeyError: 'x'")
        found = await dead(broker, 3)
        assert {letter.reason for letter in found} == {"KeyError: 'x'"}
        assert all(letter.died_at for letter in found)
        assert {event.id for event in events_of(found)} == {event.id for event in events}

        def judge(letter):
            position = [event.id for event in events].index(Envelope.decode(letter.body).id)
            return (Verdict.REPLAY, Verdict.DROP, Verdict.KEEP)[position]

        assert await broker.bus.sift(broker.queue, judge) == 3
        (replayed,) = await received(subscription, 1)
        assert (events_of([replayed])[0].id, replayed.failures) == (events[0].id, 0)
        await subscription.ack([replayed])
    (left,) = await dead(broker, 1)
    assert Envelope.decode(left.body).id == events[2].id


async def test_what_is_no_event_can_be_buried_too(broker):
    async with broker.subscribe() as subscription:
        await broker.bus.publish([broker.event()])
        (delivery,) = await received(subscription, 1)
        await subscription.bury(delivery, "no event\n" * 1000)
    (letter,) = await dead(broker, 1)
    assert letter.reason.startswith("no event")


async def test_an_unknown_queue_has_no_dead_letters(broker):
    assert await broker.bus.sift(f"{broker.queue}-never", lambda _letter: Verdict.DROP) == 0


async def test_a_restart_loses_nothing_and_open_subscriptions_say_so(broker):
    kept, unacknowledged = broker.event(), broker.event()
    async with broker.subscribe() as subscription:
        await broker.bus.publish([unacknowledged])
        deliveries = await received(subscription, 1)
        await broker.bus.publish([kept])
        await broker.stop()
        with pytest.raises(BusUnavailableError):
            async with asyncio.timeout(20):
                while True:
                    await subscription.receive(10)
        with pytest.raises(BusUnavailableError):
            await subscription.ack(deliveries)
    await broker.start()
    after = broker.event()
    assert await broker.bus.publish([after]) == [None]
    async with broker.subscribe() as subscription:
        again = await received(subscription, 3)
        assert {event.id for event in events_of(again)} == {kept.id, unacknowledged.id, after.id}
        await subscription.ack(again)
