"""The relay: what was committed is published, in order per aggregate, and moved; nothing else is."""

import asyncio
import contextlib
import gc
from urllib.parse import urlsplit
from uuid import UUID

import psutil
import psycopg
import pytest
from deploy.chaos.line import Line
from psycopg.types.json import Jsonb

from common.contracts.documents import DocumentTrashed
from common.identifiers import uuid7
from common.messaging import Relay, UnroutableError, outbox, record
from common.messaging.bus import BusUnavailableError

from .conftest import until

SCHEMA = "ai_proxy"  # no service of this name runs in these tests: no other relay is at work


class Recorder:
    """A bus that remembers, refuses what it is told to, or is away."""

    def __init__(self):
        self.connected = True
        self.taken = []
        self.refused = set()
        self.frozen = False

    async def publish(self, envelopes):
        if self.frozen:
            raise BusUnavailableError("no answer")
        outcomes = []
        for envelope in envelopes:
            refused = envelope.aggregate_id in self.refused
            outcomes.append(UnroutableError("nobody") if refused else None)
            if not refused:
                self.taken.append(envelope)
        return outcomes

    def versions(self, aggregate):
        return [event.version for event in self.taken if event.aggregate_id == aggregate]


@pytest.fixture
async def database(open_database):
    return await open_database("AI_PROXY_DATABASE_URL")


@pytest.fixture
def owner(environment):
    with psycopg.connect(environment["AI_PROXY_OWNER_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("DELETE FROM ai_proxy.outbox")
        yield connection


@contextlib.asynccontextmanager
async def relaying(environment, bus, written, count=1):
    url = environment["AI_PROXY_WORKER_DATABASE_URL"]
    tasks = [asyncio.create_task(Relay(url, SCHEMA, bus, written).run()) for _ in range(count)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def trashed():
    return DocumentTrashed(
        document_id=uuid7(), workspace_id=uuid7(), access_root_id=uuid7(), version=1, content_version=1,
        content_hash="x", size=1, title="T", language=None, kind="text",
    )  # fmt: skip


async def write(database, aggregate: UUID, *versions: int) -> None:
    async with database.transaction() as transaction:
        for version in versions:
            await record(
                transaction, SCHEMA, trashed(), aggregate_id=aggregate, aggregate_version=version, principal=None
            )


def waiting(owner):
    return owner.execute("SELECT count(*) FROM ai_proxy.outbox").fetchone()[0]


async def test_what_committed_is_published_and_moved_what_rolled_back_is_not(environment, database, owner):
    bus, aggregate, undone = Recorder(), uuid7(), uuid7()
    async with relaying(environment, bus, database.written):
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as transaction:
                await record(transaction, SCHEMA, trashed(), aggregate_id=undone, aggregate_version=1, principal=None)
                raise ZeroDivisionError
        await write(database, aggregate, 1, 2, 3)
        await until(lambda: bus.versions(aggregate) == [1, 2, 3])
        await until(lambda: waiting(owner) == 0)
    assert bus.versions(undone) == []
    moved = owner.execute(
        "SELECT aggregate_version FROM ai_proxy.outbox_sent WHERE aggregate_id = %s ORDER BY id", (aggregate,)
    ).fetchall()
    assert moved == [(1,), (2,), (3,)]


async def test_a_commit_wakes_the_relay(environment, database, owner, monkeypatch):
    monkeypatch.setattr(outbox, "POLL_SECONDS", 60.0)
    bus = Recorder()
    async with relaying(environment, bus, database.written):
        for _ in range(3):
            aggregate = uuid7()
            await asyncio.sleep(0.2)
            await write(database, aggregate, 1)
            await until(lambda a=aggregate: bus.versions(a) == [1], 2)
    assert len(bus.taken) == 3


async def test_rows_of_other_processes_are_found_without_being_woken(environment, database, owner):
    bus, aggregate = Recorder(), uuid7()
    async with relaying(environment, bus, asyncio.Event()):
        await write(database, aggregate, 1)
        await until(lambda: bus.versions(aggregate) == [1], 2)
        await until(lambda: waiting(owner) == 0)
    assert bus.versions(aggregate) == [1]


async def test_a_bus_that_is_away_costs_nothing_but_time(environment, database, owner):
    bus, aggregate = Recorder(), uuid7()
    bus.connected = False
    async with relaying(environment, bus, database.written):
        await write(database, aggregate, 1, 2)
        await asyncio.sleep(0.4)
        bus.connected, bus.frozen = True, True
        await asyncio.sleep(0.4)
        assert waiting(owner) == 2
        bus.frozen = False
        await until(lambda: bus.versions(aggregate) == [1, 2])


async def test_an_event_nobody_takes_waits_with_its_aggregate_and_stops_no_other(environment, database, owner):
    bus, stuck, other = Recorder(), uuid7(), uuid7()
    bus.refused.add(stuck)
    async with relaying(environment, bus, database.written):
        await write(database, stuck, 1)
        await write(database, other, 1)
        await write(database, stuck, 2)
        await until(lambda: bus.versions(other) == [1])
        await asyncio.sleep(0.3)
        assert bus.versions(stuck) == []
        assert waiting(owner) == 2
        bus.refused.clear()
        await until(lambda: bus.versions(stuck) == [1, 2])


def terminate(environment):
    with psycopg.connect(environment["MDC_ADMIN_DATABASE_URL"], autocommit=True) as superuser:
        superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ai_proxy_worker'")


async def test_of_two_relays_one_works_and_the_other_takes_over(environment, database, owner):
    """Order per aggregate survives the change of leader."""
    bus, aggregate = Recorder(), uuid7()
    async with relaying(environment, bus, database.written, 2):
        for version in range(1, 60):
            await write(database, aggregate, version)
            if version == 30:
                terminate(environment)
        await until(lambda: waiting(owner) == 0)
    first_seen = list(dict.fromkeys(bus.versions(aggregate)))
    assert first_seen == list(range(1, 60))


async def test_a_leader_whose_line_went_dead_is_replaced(environment, database, owner, monkeypatch):
    """Its session would hold the lock for ever: no end of it ever reaches the server."""
    monkeypatch.setattr(outbox, "ABANDONED_SECONDS", 1.0)
    url = environment["AI_PROXY_WORKER_DATABASE_URL"]
    port = urlsplit(url).port
    line, lost, bus, aggregate = Line(port), Recorder(), Recorder(), uuid7()
    await line.open()
    through_line = {**environment, "AI_PROXY_WORKER_DATABASE_URL": url.replace(f":{port}/", f":{line.port}/")}
    async with relaying(through_line, lost, database.written):
        await write(database, aggregate, 1)
        await until(lambda: lost.versions(aggregate) == [1])
        async with relaying(environment, bus, database.written):
            line.go_dead()
            await write(database, aggregate, 2)
            await until(lambda: bus.versions(aggregate)[-1:] == [2], 8)
    line.close()
    assert lost.versions(aggregate) == [1]


async def test_a_candidate_whose_line_went_dead_comes_back(environment, database, owner, monkeypatch):
    monkeypatch.setattr(outbox, "DEADLINE_SECONDS", 1.0)
    url = environment["AI_PROXY_WORKER_DATABASE_URL"]
    port = urlsplit(url).port
    line, bus, aggregate = Line(port), Recorder(), uuid7()
    await line.open()
    through_line = {**environment, "AI_PROXY_WORKER_DATABASE_URL": url.replace(f":{port}/", f":{line.port}/")}
    async with relaying(environment, Recorder(), database.written) as leaders:
        await asyncio.sleep(0.5)
        async with relaying(through_line, bus, database.written):
            await asyncio.sleep(0.5)
            line.go_dead()
            leaders[0].cancel()
            await write(database, aggregate, 1)
            await until(lambda: bus.versions(aggregate) == [1], 10)
            await until(lambda: waiting(owner) == 0)
    line.close()
    assert bus.versions(aggregate) == [1]


async def test_a_leader_outlives_a_long_absence_of_the_bus(environment, database, owner, monkeypatch, caplog):
    monkeypatch.setattr(outbox, "ABANDONED_SECONDS", 0.5)
    bus, aggregate = Recorder(), uuid7()
    bus.connected = False
    async with relaying(environment, bus, database.written):
        await write(database, aggregate, 1)
        await asyncio.sleep(1.5)
        bus.connected = True
        await until(lambda: bus.versions(aggregate) == [1], 2)
    assert "relay lost its database" not in caplog.text


async def test_a_large_backlog_is_drained_in_order(environment, database, owner):
    """100 aggregates, 10,000 events, written by nobody's transaction of ours: only presence counts."""
    bus, aggregates = Recorder(), [uuid7() for _ in range(100)]
    with owner.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ai_proxy.outbox (event_id, type, aggregate_id, aggregate_version, data, headers) "
            "VALUES (%s, 'ai-proxy.thing.happened.v1', %s, %s, %s, %s)",
            [
                (uuid7(), aggregate, version, Jsonb({}), Jsonb({}))
                for version in range(1, 101)
                for aggregate in aggregates
            ],
        )
    async with relaying(environment, bus, database.written):
        await until(lambda: len(bus.taken) == 10_000, 60)
        await until(lambda: waiting(owner) == 0)
    assert all(bus.versions(aggregate) == list(range(1, 101)) for aggregate in aggregates[:5])


class Counter(Recorder):
    """Counts only."""

    count = 0

    async def publish(self, envelopes):
        self.count += len(envelopes)
        return [None] * len(envelopes)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_backlog_of_a_million_rows_does_not_fill_the_memory(environment, database, owner):
    owner.execute(
        "INSERT INTO ai_proxy.outbox (event_id, type, aggregate_id, aggregate_version, data, headers) "
        "SELECT gen_random_uuid(), 'ai-proxy.thing.happened.v1', gen_random_uuid(), 1, "
        "jsonb_build_object('title', repeat('t', 300)), '{}' FROM generate_series(1, 1000000)"
    )
    bus, process, sizes = Counter(), psutil.Process(), []
    gc.collect()
    before = process.memory_info().rss
    async with relaying(environment, bus, database.written), asyncio.timeout(200):
        while bus.count < 1_000_000:
            await asyncio.sleep(0.5)
            sizes.append(process.memory_info().rss - before)
    owner.execute("TRUNCATE ai_proxy.outbox")
    assert max(sizes) < 24 * 2**20
