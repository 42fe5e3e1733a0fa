"""Consumers: each effect exactly once whatever the bus does, poisoned events step aside; over every adapter."""

import asyncio
import random

import psycopg
import pytest

from common.identifiers import uuid7
from common.messaging import Consumer, Envelope, Inbox, Subscriber, UnreadableEventError, Verdict, bus, consumer
from common.testing.memory_bus import Knobs, MemoryBus

from .conftest import Broker, until


@pytest.fixture
async def database(open_database):
    return await open_database("FILES_WORKER_DATABASE_URL")


class Effects:
    """A subscriber that counts what was committed, per event, and fails as it is told."""

    def __init__(self, type_):
        self.subscriber = Subscriber((type_,), self.handle)
        self.committed = {}
        self.fail = lambda _event: None

    async def handle(self, transaction, events):
        for event in events:
            if error := self.fail(event):
                raise error

        async def count():
            for event in events:
                self.committed[event.id] = self.committed.get(event.id, 0) + 1

        transaction.after_commit.append(count)


@pytest.fixture
async def effects(broker, database):
    """A consumer of the broker's type, running."""
    made = Effects(broker.type)
    async with broker.subscribe():
        pass
    task = asyncio.create_task(
        Consumer(broker.bus, broker.queue, Inbox(database, "files", broker.queue, [made.subscriber])).run()
    )
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Retries follow quickly."""
    monkeypatch.setattr(consumer, "RETRY_SECONDS", bus.RETRY_SECONDS[:1] * 2)
    monkeypatch.setattr(consumer, "PAUSE_SECONDS", 0.1)


async def test_duplicates_and_disorder_have_no_effect(broker, effects):
    events = [broker.event(n) for n in range(1, 41)]
    sent = [event for event in events for _ in range(random.randint(1, 4))]
    random.shuffle(sent)
    for start in range(0, len(sent), 7):
        await broker.bus.publish(sent[start : start + 7])
    await until(lambda: len(effects.committed) == len(events))
    await asyncio.sleep(0.3)
    assert effects.committed == {event.id: 1 for event in events}


async def test_a_poisoned_event_steps_aside_and_is_buried_with_its_reason(broker, effects):
    events = [broker.event(n) for n in range(1, 12)]
    poisoned = events[4]
    effects.fail = lambda event: KeyError("missing") if event.id == poisoned.id else None
    await broker.bus.publish(events)
    await until(lambda: len(effects.committed) == len(events) - 1)
    assert poisoned.id not in effects.committed

    found = []

    def note(letter):
        found.append(letter)
        return Verdict.REPLAY

    async with asyncio.timeout(20):
        while not await broker.bus.sift(broker.queue, note):
            await asyncio.sleep(0.2)
    assert Envelope.decode(found[0].body).id == poisoned.id
    assert "KeyError" in found[0].reason
    assert found[0].failures >= 2
    effects.fail = lambda _event: None  # mended, and replayed just now
    await until(lambda: effects.committed.get(poisoned.id) == 1)


async def test_what_no_retry_can_help_is_buried_at_once(broker, effects):
    effects.fail = lambda _event: UnreadableEventError("not for this class")
    await broker.bus.publish([broker.event()])
    reasons = []

    def note(letter):
        reasons.append((letter.reason, letter.failures))
        return Verdict.DROP

    async with asyncio.timeout(20):
        while not await broker.bus.sift(broker.queue, note):
            await asyncio.sleep(0.1)
    assert reasons == [("not for this class", 0)]


async def test_one_bad_event_rolls_its_neighbours_back_and_they_are_applied_alone(broker, effects, environment):
    """No inbox row may stay behind of a batch that failed."""
    good, bad = broker.event(1), broker.event(2)
    effects.fail = lambda event: UnreadableEventError("bad") if event.id == bad.id else None
    await broker.bus.publish([good, bad])
    await until(lambda: effects.committed == {good.id: 1})
    await broker.bus.sift(broker.queue, lambda _letter: Verdict.DROP)
    with psycopg.connect(environment["FILES_OWNER_DATABASE_URL"]) as owner:
        rows = owner.execute("SELECT event_id FROM files.inbox WHERE consumer = %s", (broker.queue,)).fetchall()
    assert rows == [(good.id,)]


async def test_an_outage_of_the_database_costs_no_event_its_attempts(environment, backing, database):
    memory = MemoryBus()
    broker = Broker(memory, None, None, f"test-{uuid7().hex[-12:]}")
    made = Effects(broker.type)
    with psycopg.connect(environment["MDC_ADMIN_DATABASE_URL"], autocommit=True) as superuser:
        superuser.execute("CHECKPOINT")  # the tests' server trades crash safety for speed
    async with broker.subscribe():
        pass
    await asyncio.to_thread(backing["postgres"].stop)
    task = asyncio.create_task(
        Consumer(memory, broker.queue, Inbox(database, "files", broker.queue, [made.subscriber])).run()
    )
    try:
        events = [broker.event(n) for n in range(1, 6)]
        await memory.publish(events)
        await asyncio.sleep(1.0)
        assert made.committed == {}
    finally:
        await asyncio.to_thread(backing["postgres"].start)
    await until(lambda: made.committed == {event.id: 1 for event in events}, 30)
    assert await memory.sift(broker.queue, lambda _letter: Verdict.DROP) == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_two_replicas_share_the_work_and_do_nothing_twice(database):
    memory = MemoryBus(Knobs(reorder=0.5, duplicate=0.5, delay=0.01), seed=7)
    broker = Broker(memory, None, None, f"test-{uuid7().hex[-12:]}")
    made = Effects(broker.type)
    inbox = Inbox(database, "files", broker.queue, [made.subscriber])
    async with broker.subscribe():
        pass
    tasks = [asyncio.create_task(Consumer(memory, broker.queue, inbox).run()) for _ in range(2)]
    events = [broker.event(n) for n in range(1, 301)]
    for start in range(0, len(events), 10):
        await memory.publish(events[start : start + 10])
        await asyncio.sleep(0.001)
    await until(lambda: len(made.committed) == len(events))
    await asyncio.sleep(0.2)
    assert made.committed == {event.id: 1 for event in events}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
