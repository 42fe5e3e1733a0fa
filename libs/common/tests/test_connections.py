"""The registry of open connections: what ends them, what leaves them alone."""

import asyncio
from contextlib import ExitStack
from uuid import uuid4

import pytest

from common.auth import Principal, Revocations
from common.connections import ACCESS_LOST, RECHECKS_AT_ONCE, SESSION_REVOKED, Connections, OpenConnection
from common.errors import UnavailableError

SOON = 2e9


class Watched:
    """A connection that notes how it was asked and ended."""

    def __init__(self, *subjects, allowed=True):
        self.principal = Principal(uuid4(), uuid4(), 0)
        self.allowed, self.asked, self.reasons = allowed, 0, []
        self.connection = OpenConnection(self.principal, subjects, self.ask, self.reasons.append)

    async def ask(self):
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.allowed, Exception):
            raise self.allowed
        return self.allowed


async def settled():
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def told():
    revocations = Revocations()
    return revocations, Connections(revocations)


async def test_an_ended_session_ends_its_connections_at_once(told):
    revocations, connections = told
    one, other = Watched(), Watched()
    with connections.registered(one.connection), connections.registered(other.connection):
        revocations.add(f"session:{one.principal.session_id}", SOON)
        assert (one.reasons, other.reasons) == ([SESSION_REVOKED], [])
    assert len(connections) == 0


@pytest.mark.parametrize("entry", ["member:{place}:{user}:2", "group:{place}:{user}:2", "workspace:{place}:3",
                                   "root:{place}:{thing}:1", "node:{thing}:7"])  # fmt: skip
@pytest.mark.parametrize("allowed", [True, False, UnavailableError()])
async def test_a_lowered_right_is_checked_by_whom_it_concerns(told, entry, allowed):
    revocations, connections = told
    place, thing = uuid4(), uuid4()
    one, other = Watched(place, thing, allowed=allowed), Watched(uuid4())
    with connections.registered(one.connection), connections.registered(other.connection):
        revocations.add(entry.format(place=place, thing=thing, user=one.principal.user_id), SOON)
        await settled()
        assert (one.asked, one.reasons) == (1, [] if allowed is True else [ACCESS_LOST])
        assert (other.asked, other.reasons) == (0, [])


async def test_many_announcements_at_once_are_one_check_each_and_few_at_a_time(told):
    revocations, connections = told
    place, running, most = uuid4(), 0, 0

    async def slow():
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return True

    watched = [Watched(place) for _ in range(100)]
    with ExitStack() as stack:
        for one in watched:
            one.connection.allowed = slow
            stack.enter_context(connections.registered(one.connection))
        for version in range(5):
            revocations.add(f"workspace:{place}:{version}", SOON)
        await asyncio.sleep(0.2)
        assert most == RECHECKS_AT_ONCE
        assert len(connections) == 100


async def test_what_is_announced_during_a_check_is_checked_again(told):
    revocations, connections = told
    place, answer, asked = uuid4(), asyncio.Event(), 0
    one = Watched(place)

    async def allowed():
        nonlocal asked
        asked += 1
        await answer.wait()
        return True

    one.connection.allowed = allowed
    with connections.registered(one.connection):
        revocations.add(f"workspace:{place}:1", SOON)
        await settled()
        revocations.add(f"workspace:{place}:2", SOON)
        await settled()
        answer.set()
        await settled()
    assert asked == 2
