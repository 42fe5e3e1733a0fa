"""Transactions: begun late, committed at the edge, rolled back when anything raises, reconnected after an outage."""

import asyncio
import os
import signal
from uuid import uuid4

import psycopg
import pytest

from common.database import Database, DatabaseUnavailableError, ValueNotStorableError
from common.errors import NotFoundError

COUNT = "SELECT count(*) AS n FROM documents.inbox WHERE consumer = %(name)s"
INSERT = "INSERT INTO documents.inbox (consumer, event_id) VALUES (%(name)s, gen_random_uuid())"


@pytest.fixture
async def database(open_database):
    return await open_database("DOCUMENTS_WORKER_DATABASE_URL")


async def count(database, name):
    async with database.transaction() as transaction:
        return (await transaction.one(COUNT, {"name": name}))["n"]


async def test_the_end_of_the_block_commits(database):
    name = str(uuid4())
    async with database.transaction() as transaction:
        await transaction.execute(INSERT, {"name": name})
        assert await count(database, name) == 0
    assert await count(database, name) == 1


async def test_an_exception_rolls_back(database):
    name = str(uuid4())
    with pytest.raises(NotFoundError):
        async with database.transaction() as transaction:
            await transaction.execute(INSERT, {"name": name})
            raise NotFoundError
    assert await count(database, name) == 0


async def test_an_error_whose_effects_stand_commits(database):
    class KeepError(NotFoundError):
        commits = True

    name = str(uuid4())
    with pytest.raises(KeepError):
        async with database.transaction() as transaction:
            await transaction.execute(INSERT, {"name": name})
            raise KeepError
    assert await count(database, name) == 1


async def test_cancellation_rolls_back_and_returns_the_connection(database):
    name = str(uuid4())

    async def interrupted():
        async with database.transaction() as transaction:
            await transaction.execute(INSERT, {"name": name})
            await transaction.execute("SELECT pg_sleep(30)")

    for _ in range(6):
        task = asyncio.create_task(interrupted())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await count(database, name) == 0


async def test_release_undoes_and_the_next_statement_begins_anew(database):
    name = str(uuid4())
    async with database.transaction() as transaction:
        await transaction.execute(INSERT, {"name": name})
        await transaction.release()
        await transaction.execute(INSERT, {"name": name})
    assert await count(database, name) == 1


async def test_after_commit_runs_only_after_a_commit(database):
    ran = []

    async def note():
        ran.append(True)

    with pytest.raises(NotFoundError):
        async with database.transaction() as transaction:
            transaction.after_commit.append(note)
            raise NotFoundError
    assert ran == []
    async with database.transaction() as transaction:
        transaction.after_commit.append(note)
    assert ran == [True]


async def test_the_user_is_known_first_and_forgotten_after(database):
    user = uuid4()
    question = "SELECT documents.app_user() AS me"
    async with database.transaction(user) as transaction:
        assert (await transaction.one(question))["me"] == user
        await transaction.release()
        assert (await transaction.one(question))["me"] == user
        await transaction.act_as(other := uuid4())
        assert (await transaction.one(question))["me"] == other
    for _ in range(4):
        async with database.transaction() as transaction:
            assert (await transaction.one(question))["me"] is None


async def test_an_unreachable_server_is_a_named_503():
    database = Database("postgresql://nobody@127.0.0.1:1/none", max_size=1, timeout=0.3)
    await database.open()
    with pytest.raises(DatabaseUnavailableError) as error:
        await database.ping()
    assert error.value.headers["Retry-After"]
    await database.close()


async def test_idle_connections_that_died_are_replaced_unseen(database, backing):
    async def backend():
        async with database.transaction() as transaction:
            return (await transaction.one("SELECT pg_backend_pid() AS pid, pg_sleep(0.02)"))["pid"]

    before = set(await asyncio.gather(*(backend() for _ in range(8))))
    with psycopg.connect(backing.postgres_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", (list(before),))
    await asyncio.sleep(0.2)  # termination is only a signal
    after = set(await asyncio.gather(*(backend() for _ in range(8))))
    assert len(before) > 1
    assert not before & after


async def test_a_frozen_server_is_a_503_after_the_deadline(environment, monkeypatch):
    monkeypatch.setattr("common.database.DEADLINE_SECONDS", 0.3)
    opened = Database(environment["DOCUMENTS_DATABASE_URL"], max_size=1, timeout=2)
    await opened.open()
    async with opened.transaction() as transaction:
        backend = (await transaction.one("SELECT pg_backend_pid() AS pid"))["pid"]
    os.kill(backend, signal.SIGSTOP)
    try:
        async with asyncio.timeout(8):
            with pytest.raises(DatabaseUnavailableError):
                async with opened.transaction() as transaction:
                    await transaction.single("SELECT 1 AS one")
    finally:
        os.kill(backend, signal.SIGCONT)
    await opened.ping()
    await opened.close()


async def test_values_postgresql_cannot_hold_are_a_named_422(database):
    with pytest.raises(ValueNotStorableError):
        async with database.transaction() as transaction:
            await transaction.single("SELECT %(at)s::text::timestamptz AS at", {"at": "0001-01-01T00:00:00+23:00"})


async def test_statements_that_go_together_are_all_done_or_none(database):
    name, event = str(uuid4()), uuid4()
    same = "INSERT INTO documents.inbox (consumer, event_id) VALUES (%(name)s, %(event)s) RETURNING consumer"
    async with database.transaction() as transaction:
        one = ("SELECT %(n)s::integer AS n", {"n": 1})
        found = await transaction.together([one, (same, {"name": name, "event": event}), ("SELECT 1 WHERE false", {})])
    assert found == [[{"n": 1}], [{"consumer": name}], []]
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with database.transaction() as transaction:
            await transaction.together([(INSERT, {"name": name}), (same, {"name": name, "event": event})])
    assert await count(database, name) == 1


async def test_a_failing_callback_does_not_keep_the_next_from_running(database):
    ran = []

    async def fails():
        raise ValueError("mail server on fire")

    async def note():
        ran.append(True)

    async with database.transaction() as transaction:
        transaction.after_commit += [fails, note]
    assert ran == [True]


async def test_replicas_may_keep_house_at_the_same_time(environment):
    opened = Database(environment["FILES_DATABASE_URL"], max_size=4, timeout=2)
    await opened.open()

    async def keep_house():
        async with opened.transaction() as transaction:
            await transaction.execute("SELECT files.ensure_partitions(), files.drop_expired()")
            await asyncio.sleep(0.05)

    with psycopg.connect(environment["FILES_OWNER_DATABASE_URL"], autocommit=True) as owner:
        newest = owner.execute(
            "SELECT max(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'files.outbox_sent'::regclass"
        ).fetchone()[0]
        owner.execute(f"DROP TABLE {newest}")
    await asyncio.gather(*(keep_house() for _ in range(4)))
    await opened.close()
