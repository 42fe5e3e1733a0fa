"""The log on PostgreSQL: every event once per scope, gap-free numbers, in order per aggregate, however they come."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from uuid import UUID

import psycopg
import pytest

from common.identifiers import uuid7
from common.messaging import UnreadableEventError
from common.testing.writing import save
from sync import dependencies
from sync.dependencies import append
from sync.domain import Scope
from sync.repository import LogWriter
from sync.service import GapService, LogService

from .conftest import member_event


async def test_events_become_entries_numbered_without_a_gap(log, history):
    root = uuid7()
    first, second = history(4, root), history(3, root)
    await log.apply(*first)
    await log.apply(*second)
    entries = await log.entries(Scope("root", root))
    assert [entry["seq"] for entry in entries] == list(range(1, 8))
    assert [entry["event_id"] for entry in entries] == [event.id for event in (*first, *second)]


async def test_a_batch_is_logged_in_the_order_it_arrived_in(log, history):
    root = uuid7()
    first, second = history(3, root), history(2, root)
    arrived = [first[0], second[0], first[1], second[1], first[2]]
    await log.apply(*arrived)
    entries = await log.entries(Scope("root", root))
    assert [entry["event_id"] for entry in entries] == [event.id for event in arrived]


async def test_permuted_and_duplicated_events_are_logged_once_in_order(log, history):
    root, random_ = uuid7(), random.Random(11)
    events = [event for _ in range(6) for event in history(8, root)]
    arrivals = [event for event in events for _ in range(random_.randint(1, 3))]
    random_.shuffle(arrivals)
    while arrivals:
        size = random_.randint(1, 20)
        await log.apply(*arrivals[:size])
        arrivals = arrivals[size:]
    entries = await log.entries(Scope("root", root))
    assert sorted(entry["event_id"] for entry in entries) == sorted(event.id for event in events)
    assert [entry["seq"] for entry in entries] == list(range(1, len(events) + 1))
    for aggregate in {event.aggregate_id for event in events}:
        assert await log.versions(root, aggregate) == list(range(1, 9))
        assert await log.rows("SELECT 1 FROM sync.parked WHERE aggregate_id = %s", aggregate) == []
        [item] = await log.rows("SELECT version, title FROM sync.item WHERE id = %s", aggregate)
        assert (item["version"], item["title"]) == (8, "T8")


async def test_replicas_at_work_at_once_leave_no_gap_and_no_double(log, history):
    """T1 of the evidence: a number is taken under the scope's lock, in the appending transaction."""
    roots = [uuid7() for _ in range(3)]
    events = [event for root in roots for _ in range(4) for event in history(10, root)]
    random.Random(5).shuffle(events)
    batches = [events[start : start + 7] for start in range(0, len(events), 7)]
    await asyncio.gather(*(log.apply(*batch) for batch in batches), *(log.apply(*batch) for batch in batches[:5]))
    for root in roots:
        entries = await log.entries(Scope("root", root))
        assert [entry["seq"] for entry in entries] == list(range(1, 41))
        for aggregate in {entry["aggregate_id"] for entry in entries}:
            assert await log.versions(root, aggregate) == list(range(1, 11))


async def test_a_membership_is_logged_in_its_workspace_and_with_its_user(log):
    workspace, user = uuid7(), uuid7()
    event = member_event(workspace, user, 1)
    await log.apply(event)
    for scope in (Scope("root", workspace), Scope("user", user)):
        assert [entry["event_id"] for entry in await log.entries(scope)] == [event.id]
    [member] = await log.rows("SELECT role FROM sync.access_member WHERE user_id = %s", user)
    assert member["role"] == "editor"


async def test_an_event_that_belongs_nowhere_changes_nothing(log, history):
    good, bad = history(1)[0], replace(history(1)[0], data={})
    with pytest.raises(UnreadableEventError):
        await log.apply(good, bad)
    assert await log.entries(Scope("root", good.data["access_root_id"])) == []


def gap_service(log, told):
    async def fetch(_producer, aggregate, first, last):
        wanted = [event for event in told if event.aggregate_id == aggregate and first <= event.version <= last]
        return wanted[:10]  # a producer answers 500 at most

    async def skip(aggregate, producer, version):
        async with log.database.transaction() as transaction:
            await LogService(LogWriter(transaction), lambda _heads: None).skip(aggregate, producer, version)

    return GapService(fetch, lambda events: log.apply(*events), skip)


async def gaps(log, aggregate):
    async with log.database.transaction() as transaction:
        found = await LogWriter(transaction).gaps(0.0)
    return [gap for gap in found if gap["id"] == aggregate]


async def test_a_gap_is_fetched_from_the_producer(log, history):
    events = history(6)
    root, document = events[0].data["access_root_id"], events[0].aggregate_id
    await log.apply(events[0], events[4], events[5])
    assert await log.versions(root, document) == [1]
    [gap] = await gaps(log, document)
    assert (gap["producer"], gap["last"], gap["first_waiting"]) == ("documents", 1, 5)
    await gap_service(log, events).close(gap)
    assert await log.versions(root, document) == [1, 2, 3, 4, 5, 6]
    assert await gaps(log, document) == []
    await log.apply(*events)  # what was fetched may still come by the bus
    assert await log.versions(root, document) == [1, 2, 3, 4, 5, 6]


async def test_what_the_producer_has_no_more_is_skipped_loudly_and_the_rest_goes_on(log, history, caplog):
    events = history(6)
    root, document = events[0].data["access_root_id"], events[0].aggregate_id
    await log.apply(events[3], events[5])
    await close_all(log, document, [events[1]])
    assert await log.versions(root, document) == [2, 4, 6]
    assert caplog.text.count("events missing for ever") == 3


async def close_all(log, document, producer_has):
    while found := await gaps(log, document):
        await gap_service(log, producer_has).close(found[0])


async def test_a_gap_longer_than_one_answer_is_fetched_in_parts(log, history):
    events = history(40)
    root, document = events[0].data["access_root_id"], events[0].aggregate_id
    await log.apply(events[0], events[-1])
    await close_all(log, document, events)
    assert await log.versions(root, document) == list(range(1, 41))


async def test_a_far_off_version_costs_no_memory(log, history):
    event = replace(history(1)[0], version=10**12)
    await log.apply(event)
    async with asyncio.timeout(5):
        await close_all(log, event.aggregate_id, [])
    assert await log.versions(event.data["access_root_id"], event.aggregate_id) == [10**12]


async def test_an_unreadable_event_is_skipped_and_keeps_no_other_out(log, history, caplog):
    events = history(4)
    root, document = events[0].data["access_root_id"], events[0].aggregate_id
    events[1] = replace(events[1], data={"note": "belongs nowhere"})
    await log.apply(events[3])
    await close_all(log, document, events)
    assert await log.versions(root, document) == [1, 3, 4]
    assert "events missing for ever" in caplog.text


async def test_a_late_skip_does_not_go_back(log, history):
    """The gap was seen, then the bus brought what was missing and more."""
    events = history(6)
    root, document = events[0].data["access_root_id"], events[0].aggregate_id
    await log.apply(events[0], events[3])
    [gap] = await gaps(log, document)
    await log.apply(events[1], events[2], events[4])
    await gap_service(log, []).close(gap)
    await log.apply(events[5])
    assert await log.versions(root, document) == [1, 2, 3, 4, 5, 6]


async def test_a_gap_that_cannot_be_closed_rests_and_the_others_are_closed(log, history, monkeypatch):
    stuck, fine = history(2), history(2)
    await log.apply(stuck[1], fine[1])
    tried = Counter()

    class Gaps:
        async def close(self, gap):
            tried[gap["id"]] += 1
            if gap["id"] == stuck[0].aggregate_id:
                raise KeyError("a producer nobody knows")
            if gap["id"] == fine[0].aggregate_id:
                await gap_service(log, fine).close(gap)

    monkeypatch.setattr(dependencies, "gap_service", lambda _platform: Gaps())
    monkeypatch.setattr(dependencies, "GAP_SECONDS", 0.2)
    monkeypatch.setattr(dependencies, "LOOK_SECONDS", 0.01)
    looking = asyncio.create_task(dependencies.close_gaps(SimpleNamespace(worker=log.database)))
    async with asyncio.timeout(10):
        while await log.versions(fine[0].data["access_root_id"], fine[0].aggregate_id) != [1, 2]:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    assert not looking.done()
    assert 1 <= tried[stuck[0].aggregate_id] <= 3
    looking.cancel()


async def test_an_event_the_bus_lost_is_asked_of_its_producer(log, people, environment):
    """On the running services: version 2 is told to nobody, 3 is; within seconds the log has both."""
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    made = await people.document(ada, workspace, "one\n")
    document = UUID(made["id"])
    await until(log, workspace, document, [1])
    with psycopg.connect(environment["DOCUMENTS_OWNER_DATABASE_URL"], autocommit=True) as owner:
        owner.execute("UPDATE documents.document SET version = 2 WHERE id = %s", (document,))
        owner.execute(
            "INSERT INTO documents.outbox_sent (id, event_id, type, aggregate_id, aggregate_version, data, headers, "
            "occurred_at) SELECT -id, gen_random_uuid(), 'documents.document.updated.v1', aggregate_id, 2, "
            'data || \'{"version": 2, "origin": "x"}\', headers, now() FROM documents.event '
            "WHERE aggregate_id = %s",
            (document,),
        )
    assert (await save(ada, str(document), 2, "two\n")).status_code == 200
    await until(log, workspace, document, [1, 2, 3])


async def until(log, workspace, document, versions):
    async with asyncio.timeout(20):
        while await log.versions(workspace, document) != versions:
            await asyncio.sleep(0.1)


async def test_the_worker_can_append_and_nothing_else(log, history, environment):
    events = history(2)
    await log.apply(*events)
    with psycopg.connect(environment["SYNC_WORKER_DATABASE_URL"], autocommit=True) as worker:
        for statement in (
            "UPDATE sync.sync_log SET type = 'x'",
            "DELETE FROM sync.sync_log",
            "TRUNCATE sync.sync_log",
            "UPDATE sync.sync_log_detail SET personal = '{}'",
            "DELETE FROM sync.sync_log_detail",
            "DELETE FROM sync.scope",
            "DELETE FROM sync.item",
            "SELECT * FROM sync.sync_log_default",
            "INSERT INTO sync.sync_log_default SELECT * FROM sync.sync_log LIMIT 1",
            "CREATE TABLE sync.mine (n int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                worker.execute(statement)


async def test_the_runtime_role_sees_nothing_without_a_user_and_writes_nothing(log, history, environment):
    await log.apply(*history(2))
    with psycopg.connect(environment["SYNC_DATABASE_URL"], autocommit=True) as runtime:
        for table in ("sync_log", "sync_log_detail", "item"):
            assert runtime.execute(f"SELECT count(*) FROM sync.{table}").fetchone() == (0,)
        for statement in (
            "INSERT INTO sync.sync_log SELECT * FROM sync.sync_log",
            "DELETE FROM sync.sync_log",
            "SELECT * FROM sync.parked",
            "SELECT * FROM sync.sync_log_default",
            "UPDATE sync.access_member SET role = 'owner'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                runtime.execute(statement)


async def test_the_number_of_statements_does_not_grow_with_the_batch(log, history):
    counted = []

    class Counting:
        def __init__(self, transaction):
            self._transaction = transaction
            self.after_commit = transaction.after_commit

        async def execute(self, *arguments):
            counted.append(1)
            return await self._transaction.execute(*arguments)

        async def all(self, *arguments):
            counted.append(1)
            return await self._transaction.all(*arguments)

    sizes = []
    for count in (2, 150):
        counted.clear()
        async with log.database.transaction() as transaction:
            await append(Counting(transaction), history(count))
        sizes.append(len(counted))
    assert sizes[0] == sizes[1] <= 12
