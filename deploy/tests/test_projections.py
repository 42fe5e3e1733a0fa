"""Random histories of memberships and groups, told in any order, more than once: all services agree with the owner."""

import asyncio
import importlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from uuid import UUID

import orjson
import psycopg
import pytest
from deploy.client import invitation_token
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from common.client import PeerNotFoundError
from common.contracts.auth_gateway import membership_id
from common.database import Database
from common.identifiers import uuid7
from common.messaging import Consumer, Envelope, Inbox, outbox
from common.revisions import SERVICES, schema_of
from common.settings import env_prefix
from common.testing.fleet import Fleet
from common.testing.memory_bus import Knobs, MemoryBus
from common.testing.people import People, Person

PROJECTING = [service for service in SERVICES if service != "auth-gateway"]
ROLES = ("owner", "admin", "editor", "commenter", "viewer")
PEOPLE, WORKSPACES = 3, 2
QUIET_SECONDS = 15

person = st.integers(1, PEOPLE)
workspace = st.integers(0, WORKSPACES - 1)
steps = st.one_of(
    st.tuples(st.just("join"), workspace, person, st.sampled_from(ROLES)),
    st.tuples(st.just("change"), workspace, person, st.sampled_from(ROLES)),
    st.tuples(st.just("remove"), workspace, person, st.none()),
    st.tuples(st.just("suspend"), workspace, person, st.none()),
    st.tuples(st.just("resume"), workspace, person, st.none()),
    st.tuples(st.just("rename"), workspace, person, st.none()),
    st.tuples(st.just("enter"), workspace, person, st.none()),
    st.tuples(st.just("enter"), workspace, person, st.none()),
    st.tuples(st.just("quit"), workspace, person, st.none()),
    st.tuples(st.just("dissolve"), workspace, person, st.none()),
)
knobs = st.builds(
    Knobs,
    reorder=st.sampled_from([0.0, 0.5, 1.0]),
    duplicate=st.sampled_from([0.0, 0.5]),
    delay=st.sampled_from([0.0, 0.02]),
)

Step = tuple[str, int, int, str | None]


class History:
    """An owner, other people, two workspaces with a group each, and what happens to them at auth-gateway."""

    def __init__(self, crowd: list[Person], workspaces: list[str], groups: list[str], mails: Path) -> None:
        self.crowd = crowd
        self.workspaces = workspaces
        self.groups = groups
        self._mails = mails

    @classmethod
    async def begin(cls, people: People, mails: Path) -> "History":
        crowd = [await people.person(f"P{number}") for number in range(1 + PEOPLE)]
        workspaces = [await people.workspace(crowd[0], f"W{number}") for number in range(WORKSPACES)]
        groups = []
        for place in workspaces:
            answer = await crowd[0].http.post(f"/v1/workspaces/{place}/groups", json={"name": "Team"})
            groups.append(answer.json()["id"])
        history = cls(crowd, workspaces, groups, mails)
        for step in product(("join", "enter"), range(WORKSPACES), (1, 2), ("editor",)):
            await history.take(step)
        return history

    async def take(self, step: Step) -> None:
        """One step; it may be refused, such as joining twice."""
        kind, where, who, role = step
        workspace, owner, other = self.workspaces[where], self.crowd[0].http, self.crowd[who]
        member = f"/v1/workspaces/{workspace}/members/{other.id}"
        if kind == "join":
            body = {"email": other.email, "role": role}
            if (await owner.post(f"/v1/workspaces/{workspace}/invitations", json=body)).status_code == 201:
                token = await invitation_token(self._mails, other.email)
                assert (await other.http.post(f"/v1/invitations/{token}/accept")).status_code == 200
        elif kind == "change":
            await owner.patch(member, json={"role": role})
        elif kind == "remove":
            await owner.delete(member)
        elif kind in ("suspend", "resume"):
            await owner.post(f"{member}/{kind}")
        elif kind in ("enter", "quit", "dissolve"):
            group = f"/v1/workspaces/{workspace}/groups/{self.groups[where]}"
            path = group if kind == "dissolve" else f"{group}/members/{other.id}"
            await (owner.put(path) if kind == "enter" else owner.delete(path))
        else:
            await other.http.patch("/v1/users/me", json={"display_name": f"Name {uuid7()}"})
            await owner.patch(f"/v1/workspaces/{workspace}", json={"name": f"Name {uuid7()}"})

    def ids(self) -> list[str]:
        return [*self.workspaces, *self.groups, *(str(one.id) for one in self.crowd)]


def told_anew(rows: Iterable[Mapping], history: History) -> tuple[list[Envelope], dict[str, str]]:
    """The history's events as if it had happened to others: the running services know nothing of those yet."""
    others = {old: str(uuid7()) for old in history.ids()}
    pairs = [(UUID(place), one.id) for place in history.workspaces for one in history.crowd]
    others |= {
        str(membership_id(place, one)): str(membership_id(UUID(others[str(place)]), UUID(others[str(one)])))
        for place, one in pairs
    }

    def anew(text: str) -> str:
        for old, new in others.items():
            text = text.replace(old, new)
        return text

    events = [
        replace(
            event := outbox.envelope(row),
            id=uuid7(),
            aggregate_id=UUID(anew(str(event.aggregate_id))),
            data=orjson.loads(anew(orjson.dumps(event.data).decode())),
        )
        for row in rows
    ]
    return events, others


async def events_of(environment: Mapping[str, str], history: History) -> list[dict]:
    async with await psycopg.AsyncConnection.connect(
        environment["MDC_ADMIN_DATABASE_URL"], row_factory=dict_row
    ) as connection:
        cursor = await connection.execute(
            "SELECT * FROM auth_gateway.event WHERE data ->> 'user_id' = ANY(%(ids)s) "
            "OR data ->> 'workspace_id' = ANY(%(ids)s) ORDER BY id",
            {"ids": history.ids()},
        )
        return await cursor.fetchall()


async def tell(bus: MemoryBus, events: Sequence[Envelope], databases: Mapping[str, Database], queue: str) -> None:
    """Publish, one consumer per service listening, until nothing is on its way."""
    async with asyncio.timeout(QUIET_SECONDS), AsyncExitStack() as stack:
        for service, database in databases.items():
            subscribers = importlib.import_module(f"{schema_of(service)}.consumers").subscribers
            inbox = Inbox(database, schema_of(service), queue, subscribers)
            task = asyncio.create_task(Consumer(bus, f"{queue}-{service}", inbox).run())
            stack.callback(task.cancel)
        while len(bus.queues) < len(databases):
            await asyncio.sleep(0.001)
        assert await bus.publish(events) == [None] * len(events)
        while not bus.quiet:
            await asyncio.sleep(0.005)


async def answers_of(fleet: Fleet, history: History) -> tuple[dict, dict, dict, set]:
    """What the owner says: memberships ever held, names of workspaces and of people, who is in which group."""
    owner = history.crowd[0].http
    members, client = {}, fleet["documents"].app.state.platform.client
    for place in history.workspaces:
        for one in history.crowd:
            with suppress(PeerNotFoundError):
                fact = await client.get("auth-gateway", f"/internal/workspaces/{place}/members/{one.id}")
                members[place, str(one.id)] = (fact["role"], fact["removed"], fact["version"])
    names = {place: (await owner.get(f"/v1/workspaces/{place}")).json()["name"] for place in history.workspaces}
    people = {str(one.id): (await one.http.get("/v1/users/me")).json()["display_name"] for one in history.crowd}
    grouped = set()
    for place, group in zip(history.workspaces, history.groups, strict=True):
        answer = await owner.get(f"/v1/workspaces/{place}/groups/{group}/members")
        assert answer.status_code in (200, 404)
        grouped |= {(group, item["user_id"]) for item in answer.json().get("items", [])}
    return members, names, people, grouped


async def projected(environment: Mapping[str, str], schema: str, ids: list[str]) -> tuple[dict, dict, dict, set]:
    async with await psycopg.AsyncConnection.connect(environment["MDC_ADMIN_DATABASE_URL"]) as connection:

        async def rows(statement: str) -> list[tuple]:
            return await (await connection.execute(statement, {"ids": ids})).fetchall()

        members = await rows(
            f"SELECT workspace_id::text, user_id::text, role, removed, version FROM {schema}.access_member "
            "WHERE workspace_id = ANY(%(ids)s::uuid[])"
        )
        names = await rows(
            f"SELECT workspace_id::text, name FROM {schema}.access_workspace WHERE workspace_id = ANY(%(ids)s::uuid[])"
        )
        people = await rows(
            f"SELECT user_id::text, display_name FROM {schema}.access_user WHERE user_id = ANY(%(ids)s::uuid[])"
        )
        grouped = await rows(
            f"SELECT m.group_id::text, m.user_id::text FROM {schema}.access_group_member m "
            f"JOIN {schema}.access_group g ON g.group_id = m.group_id AND NOT g.removed "
            "WHERE m.group_id = ANY(%(ids)s::uuid[]) AND NOT m.removed"
        )
    return {row[:2]: row[2:] for row in members}, dict(names), dict(people), set(grouped)


@pytest.fixture
async def databases(open_database):
    return {service: await open_database(f"{env_prefix(service)}WORKER_DATABASE_URL") for service in PROJECTING}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(steps=st.lists(steps, min_size=1, max_size=12), knobs=knobs, seed=st.integers(0, 2**32))
async def test_after_any_history_every_projection_says_what_its_owner_says(
    fleet, people, environment, databases, steps, knobs, seed
):
    history = await History.begin(people, Path(environment["MDC_MAIL_DIR"]))
    for step in steps:
        await history.take(step)
    events, others = told_anew(await events_of(environment, history), history)
    await tell(MemoryBus(knobs, seed), events, databases, f"projections-{uuid7()}")

    members, names, display_names, grouped = await answers_of(fleet, history)
    told = {event.data["user_id"] for event in events if event.type.startswith("auth-gateway.user.")}
    expected = (
        {(others[place], others[one]): fact for (place, one), fact in members.items()},
        {others[place]: name for place, name in names.items()},
        {others[one]: name for one, name in display_names.items() if others[one] in told},
        {(others[group], others[one]) for group, one in grouped},
    )
    for service in PROJECTING:
        assert await projected(environment, schema_of(service), list(others.values())) == expected, service
