"""`make revoke-lag`: how long a lowered right still works, per kind and service, while others save.

Runs a private fleet of all six services. For each kind somebody is let in, every service is asked in a loop whether
they still are, the right is taken back, and the time from the answer to that until each service's first refusal counts.
Exit code 1 if a p99 is a second or more, or a service answered yes again after it had refused.
"""

import asyncio
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from common.auth import ServiceIdentity
from common.revisions import SERVICES
from deploy.bench import load
from deploy.bench.rest import machine, move_in, say
from deploy.client import Api, Person, invitation_token, percentile
from deploy.local.servers import Servers, start
from deploy.tests import processes
from deploy.tests.environment import migrated

ROUNDS = 50
RATE = 200.0
SAVERS = 4
DOCUMENTS = 200
LIMIT_SECONDS = 1.0
GIVE_UP_SECONDS = 60.0
PAUSE_SECONDS = 0.001
AFTERWARDS = 5
DECIDING = ("documents", "sync", "collab", "files", "ai-proxy")
REFUSED = (401, 403, 404)
UNLIMITED = {"AUTH_GATEWAY_MAILS_PER_MINUTE": "1000", "AUTH_GATEWAY_LOGIN_ATTEMPTS_PER_MINUTE": "1000"}

Ask = Callable[[], Awaitable[int]]


@dataclass
class World:
    """The fleet, an owner, and the somebody whose rights come and go."""

    fleet: processes.Fleet
    api: Api
    http: aiohttp.ClientSession
    owner: Person
    subject: Person
    password: str
    workspace: str
    away: str
    """A workspace the somebody is not in."""
    group: str
    shared: str
    """A document restricted to who is granted something."""
    teams: str
    """A document restricted to the group."""
    inherited: str
    """A document with rules of its own that inherits the workspace's."""

    async def must(self, person: Person, method: str, path: str, body: Any = None, **params: str) -> None:
        """A call that has to succeed."""
        await person.call(method, path, expect=(200, 201, 202, 204), body=body, params=params)

    def askers(self, root: str, token: str, public: Mapping[str, str]) -> dict[str, Ask]:
        """How each service is asked: what it decides at a root, and public routes."""
        values = self.fleet.environment
        urls = orjson.loads(values["MDC_INTERNAL_URLS"])
        identity = ServiceIdentity(
            "documents", values["DOCUMENTS_SERVICE_KEY"], orjson.loads(values["MDC_SERVICE_PUBLIC_KEYS"])
        )

        def inside(service: str) -> Ask:
            headers = {"Authorization": f"Bearer {identity.assertion(service)}", "X-User-Token": token}
            return lambda: self._status(f"{urls[service]}/internal/access/{root}", headers)

        def outside(path: str) -> Ask:
            return lambda: self._status(self.fleet.url + path, {"Authorization": f"Bearer {token}"})

        asked = {service: inside(service) for service in DECIDING}
        return asked | {f"{service}, public": outside(path) for service, path in public.items()}

    async def _status(self, url: str, headers: dict[str, str]) -> int:
        async with self.http.get(url, headers=headers) as answer:
            await answer.read()
            return answer.status


async def lags(asked: Mapping[str, Ask], take_back: Callable[[], Awaitable[None]]) -> dict[str, float]:
    """Seconds from the answer to `take_back` to each service's first refusal; every one said yes before."""
    done, returned = asyncio.Event(), 0.0
    refusals: dict[str, float] = {}

    async def ask(name: str, question: Ask) -> None:
        await _until(name, question, REFUSED, PAUSE_SECONDS)
        refusals[name] = time.perf_counter()
        await done.wait()
        for _ in range(AFTERWARDS):
            if await question() not in REFUSED:
                raise RuntimeError(f"{name} said yes again after it had refused")

    for name, question in asked.items():
        await _until(name, question, (200,), 0.01)
    async with asyncio.TaskGroup() as tasks:
        for name, question in asked.items():
            tasks.create_task(ask(name, question))
        await asyncio.sleep(0.02)
        await take_back()
        returned = time.perf_counter()
        done.set()
    return {name: max(0.0, at - returned) for name, at in refusals.items()}


async def _until(name: str, question: Ask, expected: tuple[int, ...], pause: float) -> None:
    status, end = 0, time.perf_counter() + GIVE_UP_SECONDS
    while (status := await question()) not in expected:
        if time.perf_counter() > end:
            raise RuntimeError(f"{name} still answers {status} after {GIVE_UP_SECONDS:.0f} s, not one of {expected}")
        await asyncio.sleep(pause)


async def measure(world: World) -> dict[str, dict[str, list[float]]]:
    """Kind -> service -> lags."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(ROUNDS):
        if number % 5 == 0:
            say(f"round {number + 1} of {ROUNDS}")
        for kind, once in KINDS.items():
            for service, lag in (await once(world)).items():
                found[kind][service].append(lag)
    return found


async def _session(world: World) -> dict[str, float]:
    person = await world.api.sign_in(world.subject.email, world.password)
    token = person.token
    sessions = (await person.call("GET", "/v1/auth/sessions", expect=(200,))).json()["items"]
    mine = next(item["id"] for item in sessions if item["current"])
    places = {"auth-gateway": "/v1/users/me", "documents": f"/v1/documents/{world.inherited}"}
    return await lags(
        world.askers(world.workspace, token, places),
        lambda: world.must(world.subject, "DELETE", f"/v1/auth/sessions/{mine}"),
    )


def _member_path(world: World) -> str:
    return f"/v1/workspaces/{world.workspace}/members/{world.subject.id}"


def _here(world: World) -> dict[str, str]:
    return {
        "auth-gateway": f"/v1/workspaces/{world.workspace}",
        "documents": f"/v1/documents?workspace_id={world.workspace}&limit=1",
    }


async def _suspended(world: World) -> dict[str, float]:
    found = await lags(
        world.askers(world.workspace, world.subject.token, _here(world)),
        lambda: world.must(world.owner, "POST", f"{_member_path(world)}/suspend"),
    )
    await world.must(world.owner, "POST", f"{_member_path(world)}/resume")
    return found


async def _member(world: World) -> dict[str, float]:
    found = await lags(
        world.askers(world.workspace, world.subject.token, _here(world)),
        lambda: world.must(world.owner, "DELETE", _member_path(world)),
    )
    await _let_in(world.owner, world.subject, world.workspace, world.fleet.mails)
    return found


async def _grant(world: World) -> dict[str, float]:
    path = f"/v1/documents/{world.shared}/access/user:{world.subject.id}"
    await world.must(world.owner, "PUT", path, body={"role": "editor"})
    return await lags(
        world.askers(world.shared, world.subject.token, {"documents": f"/v1/documents/{world.shared}"}),
        lambda: world.must(world.owner, "DELETE", path),
    )


async def _group(world: World) -> dict[str, float]:
    path = f"/v1/workspaces/{world.workspace}/groups/{world.group}/members/{world.subject.id}"
    await world.must(world.owner, "PUT", path)
    return await lags(
        world.askers(world.teams, world.subject.token, {"documents": f"/v1/documents/{world.teams}"}),
        lambda: world.must(world.owner, "DELETE", path),
    )


async def _restricted(world: World) -> dict[str, float]:
    path = f"/v1/documents/{world.inherited}/access"
    found = await lags(
        world.askers(world.inherited, world.subject.token, {"documents": f"/v1/documents/{world.inherited}"}),
        lambda: world.must(world.owner, "PUT", path, body={"restricted": True}),
    )
    await world.must(world.owner, "PUT", path, body={"restricted": False})
    return found


async def _taken(world: World) -> dict[str, float]:
    path = f"/v1/documents/{world.shared}"
    await world.must(world.owner, "PUT", f"{path}/access/user:{world.subject.id}", body={"role": "editor"})
    found = await lags(
        world.askers(world.shared, world.subject.token, {"documents": path}),
        lambda: world.must(world.owner, "POST", f"{path}/move", body={"workspace_id": world.away, "folder_id": None}),
    )
    await world.must(world.owner, "POST", f"{path}/move", body={"workspace_id": world.workspace, "folder_id": None})
    return found


async def _workspace(world: World) -> dict[str, float]:
    doomed = await world.owner.make_workspace("Doomed")
    await _let_in(world.owner, world.subject, doomed, world.fleet.mails)
    places = {"auth-gateway": f"/v1/workspaces/{doomed}", "documents": f"/v1/documents?workspace_id={doomed}"}
    return await lags(
        world.askers(doomed, world.subject.token, places),
        lambda: world.must(world.owner, "DELETE", f"/v1/workspaces/{doomed}", confirm="Doomed"),
    )


KINDS: dict[str, Callable[[World], Awaitable[dict[str, float]]]] = {
    "session ended": _session,
    "member suspended": _suspended,
    "member removed": _member,
    "grant taken back": _grant,
    "left a group": _group,
    "restricted": _restricted,
    "taken to another workspace": _taken,
    "workspace deleted": _workspace,
}


async def _let_in(owner: Person, person: Person, workspace: str, mails: Path) -> None:
    await owner.invite(workspace, person.email)
    await person.accept_invitation(await invitation_token(mails, person.email))


async def _settle(fleet: processes.Fleet, api: Api, http: aiohttp.ClientSession) -> World:
    password, run = uuid.uuid4().hex, uuid.uuid4().hex
    owner = await api.sign_up(f"owner-{run}@example.org", password, "Owner")
    subject = await api.sign_up(f"subject-{run}@example.org", password, "Subject")
    workspace, away = await owner.make_workspace("Watched"), await owner.make_workspace("Away")
    await _let_in(owner, subject, workspace, fleet.mails)
    created = await owner.call("POST", f"/v1/workspaces/{workspace}/groups", body={"name": "Team"}, expect=(201,))
    documents = [str((await owner.create(workspace, name, b"text\n")).json()["id"]) for name in ("a", "b", "c")]
    world = World(fleet, api, http, owner, subject, password, workspace, away, created.json()["id"], *documents)
    rules = {
        world.shared: {"restricted": True},
        world.teams: {"restricted": True, "grants": {f"group:{world.group}": "editor", f"user:{owner.id}": "owner"}},
        world.inherited: {"grants": {f"user:{owner.id}": "owner"}},
    }
    for document, body in rules.items():
        await world.must(owner, "PUT", f"/v1/documents/{document}/access", body=body)
    return world


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[World, Servers]]:
    """A private fleet of all services, with its servers, and the people whose rights come and go in it."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mdc-bench-"))
        backing = stack.enter_context(start(durable=True))
        environment = migrated(backing, Path(folder)) | UNLIMITED
        fleet = stack.enter_context(processes.fleet(environment, SERVICES))
        for process in fleet.processes.values():
            await process.start()
        await fleet.until_ready()
        api = await stack.enter_async_context(Api(fleet.url))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield await _settle(fleet, api, http), backing


async def bench() -> int:
    async with watched() as (world, _servers):
        place = await move_in(world.api, world.fleet.mails, DOCUMENTS)
        saving = asyncio.create_task(_save(urlsplit(world.fleet.url).port or 0, place.requests()["save"]))
        try:
            found = await measure(world)
        finally:
            saving.cancel()
    return report(found)


async def _save(port: int, prepare: Callable[[int, int], bytes]) -> None:
    while True:
        await load.run(port, SAVERS, 30.0, prepare, RATE)


def report(found: Mapping[str, Mapping[str, list[float]]]) -> int:
    """Print the table; 1 if some p99 is too long."""
    print(f"\n{machine()}\nfrom the answer to the change to the first refusal, {ROUNDS} rounds, {RATE:.0f} saves/s\n")
    print("| right | service | p50 | p99 |\n|---|---|---|---|")
    slow = 0
    for kind, services in found.items():
        for service, values in sorted(services.items()):
            p50, p99 = (percentile(values, share) for share in (50, 99))
            slow += p99 >= LIMIT_SECONDS
            print(f"| {kind} | {service} | {p50 * 1000:.1f} ms | {p99 * 1000:.1f} ms |")
    print(f"\n{'Every right ended within a second.' if not slow else f'{slow} rights took a second or longer.'}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(bench()))
