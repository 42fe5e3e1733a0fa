"""Revocations reach every replica: by pub/sub at once, by the sorted set on connect, by the owner without Redis."""

import asyncio
import time
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from common.auth import Revocations
from common.errors import UnavailableError
from common.platform import redis_client
from common.revocations import REDIS_KEY, RevocationFeed, publish


@pytest.fixture
async def redis(backing):
    async with Redis.from_url(backing.redis_url) as connection:
        yield connection


async def nothing(_since):
    return {}


async def until(condition):
    async with asyncio.timeout(3):
        while not condition():
            await asyncio.sleep(0.01)


async def test_published_entries_arrive_at_once_and_late_joiners_load_them(redis):
    early, late, session = Revocations(), Revocations(), uuid4()
    first = asyncio.create_task(RevocationFeed(early, redis, [nothing]).run())
    await asyncio.sleep(0.2)
    await publish(redis, {f"session:{session}": time.time() + 60})
    await until(lambda: early.session_ended(session))
    second = asyncio.create_task(RevocationFeed(late, redis, [nothing]).run())
    await until(lambda: late.session_ended(session))
    for task in (first, second):
        task.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_without_redis_the_owner_is_asked_again_for_a_while_already_seen():
    asked, session, known = [], uuid4(), Revocations()

    async def owner(since):
        asked.append(since)
        return {f"session:{session}": time.time() + 60}

    nowhere = Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.1)
    feed = RevocationFeed(known, nowhere, [owner])
    assert await feed.reload() is True
    assert known.session_ended(session)
    await feed.reload()
    assert asked[0] == 0.0
    assert time.time() - 200 < asked[1] < time.time() - 100
    await publish(nowhere, {"session:x": 1.0})
    await nowhere.aclose()


async def test_a_restart_of_redis_costs_no_announcement(backing):
    """Pooled connections are all dead then, which each of them shows only when it is used."""
    entry = f"session:{uuid4()}"
    async with redis_client(backing.redis_url, reconnects=1) as redis:
        await asyncio.gather(*(redis.ping() for _ in range(4)))
        await asyncio.to_thread(backing["redis"].kill)
        await asyncio.to_thread(backing["redis"].start)
        await publish(redis, {entry: time.time() + 60})
        assert await redis.zscore(REDIS_KEY, entry)


async def test_whatever_the_client_raises_the_feed_listens_again(redis, monkeypatch):
    feed = RevocationFeed(Revocations(), redis, [nothing])
    listen, broken = feed._listen, []

    async def odd():
        if not broken:
            broken.append(True)
            raise RuntimeError("seen when a server was killed")
        await listen()

    monkeypatch.setattr(feed, "_listen", odd)
    running = asyncio.create_task(feed.run())
    await until(lambda: feed.loaded)
    assert broken
    running.cancel()
    await asyncio.wait([running])


async def test_an_owner_that_is_away_is_not_complete(redis):
    async def away(_since):
        raise UnavailableError

    feed = RevocationFeed(Revocations(), redis, [away])
    assert await feed.reload() is False
    assert feed.loaded is False


def test_what_a_later_release_may_send_is_skipped():
    known, session = Revocations(), uuid4()
    for entry in ("planet:1:2", "session:x", "member:a:b", "member:a:b:x", "", "nonsense"):
        known.add(entry, 100.0)
    known.add(f"session:{session}", 100.0)
    known.forget_expired(200.0)
    assert not known.session_ended(session)


def test_versions_only_rise_and_expire():
    known, user, workspace, group = Revocations(), uuid4(), uuid4(), uuid4()
    known.add(f"member:{workspace}:{user}:3", 100.0)
    known.add(f"member:{workspace}:{user}:2", 200.0)
    known.add(f"group:{group}:{user}:7", 100.0)
    assert known.versions_of(user) == {workspace: 3, group: 7}
    known.forget_expired(150.0)
    assert known.versions_of(user) == {}
    assert known.versions_of(uuid4()) == {}


def test_workspaces_roots_and_nodes_are_known_by_their_versions():
    known, workspace, root, node = Revocations(), uuid4(), uuid4(), uuid4()
    told = []
    known.listeners.append(told.append)
    entries = [f"workspace:{workspace}:4", f"root:{workspace}:{root}:2", f"node:{node}:9", f"root:{workspace}:{root}:1"]
    for entry in [*entries, entries[0]]:
        known.add(entry, 100.0)
    assert (known.workspaces, known.roots, known.nodes) == ({workspace: 4}, {root: 2}, {node: 9})
    assert known.workspace_of(root) == workspace
    assert told == entries, "what is known already is no news"
    assert known.changes == 3
    known.forget_expired(150.0)
    assert (known.workspaces, known.roots, known.nodes, known.workspace_of(root)) == ({}, {}, {}, None)


async def test_many_entries_travel_in_few_messages(redis):
    known, sessions = Revocations(), [uuid4() for _ in range(1_200)]
    feed = asyncio.create_task(RevocationFeed(known, redis, [nothing]).run())
    async with redis.pubsub() as channel:
        await channel.subscribe(REDIS_KEY)
        await asyncio.sleep(0.2)
        await publish(redis, {f"session:{session}": time.time() + 60 for session in sessions})
        await until(lambda: all(map(known.session_ended, sessions)))
        messages = 0
        while message := await channel.get_message(timeout=0.2):
            messages += message["type"] == "message"
    assert messages == 3
    feed.cancel()
    await asyncio.gather(feed, return_exceptions=True)
