"""One fleet of real processes for all journeys of a run, and a client of it."""

import secrets
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from deploy.client import Api, Person, invitation_token
from deploy.local import servers
from deploy.provider.server import Running
from deploy.tests import processes
from deploy.tests.environment import migrated

WHOLE = (*processes.SERVICES, "ai-proxy")
PROVIDER = ("AI_PROXY_PROVIDERS", "AI_PROXY_PROVIDER_KEYS")
PASSWORD = "seven-wooden-ships-at-anchor"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed journey comes with what the services last said."""
    report = yield
    fleet = item.funcargs.get("running") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(fleet, processes.Fleet):
        report.sections += [(f"errors of {name}", fleet[name].complaints()) for name in WHOLE]
    return report


@pytest.fixture(scope="session")
def beneath() -> Iterator[servers.Servers]:
    """Servers of the fleet of processes alone: services with other folders would take its files to examine."""
    with servers.start() as started:
        yield started


@pytest_asyncio.fixture(scope="session")
async def running(
    beneath: servers.Servers,
    environment: dict[str, str],
    provider: Running,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[processes.Fleet]:
    """All services and nginx as processes, ready; the AI is the development provider."""
    assert provider
    asked = {name: value for name, value in environment.items() if name in PROVIDER}
    with processes.fleet(migrated(beneath, tmp_path_factory.mktemp("fleet")) | asked, WHOLE) as fleet:
        for process in fleet.processes.values():
            await process.start()
        await fleet.until_ready()
        yield fleet


@pytest_asyncio.fixture
async def ready(running: processes.Fleet) -> AsyncIterator[processes.Fleet]:
    """The fleet, ready before the test, and again after it whatever the test broke."""
    await running.until_ready()
    yield running


@pytest_asyncio.fixture
async def api(ready: processes.Fleet) -> AsyncIterator[Api]:
    """A client of the fleet's gateway."""
    async with Api(ready.url) as client:
        yield client


class Team:
    """People who share a workspace; the first is its owner, the others are editors."""

    def __init__(self, people: list[Person], workspace_id: str) -> None:
        self.people = people
        self.workspace_id = workspace_id

    def __getitem__(self, number: int) -> Person:
        return self.people[number]

    async def document(self, content: bytes, title: str = "Note") -> str:
        """A document of the owner's; its id."""
        return str((await self.people[0].create(self.workspace_id, title, content)).json()["id"])


class Teams:
    """Makes teams by registration and mailed invitations."""

    def __init__(self, api: Api, mails: Path) -> None:
        self._api = api
        self._mails = mails
        self._made = 0
        self._run = secrets.token_hex(4)  # not id(self): a later Teams may lie where an earlier one did

    async def of(self, size: int) -> Team:
        self._made += 1
        name = f"{self._run}-{self._made}"
        people = [
            await self._api.sign_up(f"p{number}-{name}@example.org", PASSWORD, f"Person {number}")
            for number in range(size)
        ]
        workspace_id = await people[0].make_workspace("Journey")
        for person in people[1:]:
            await people[0].invite(workspace_id, person.email)
            await person.accept_invitation(await invitation_token(self._mails, person.email))
        return Team(people, workspace_id)


@pytest.fixture
def teams(api: Api, ready: processes.Fleet) -> Teams:
    """Maker of people."""
    return Teams(api, ready.mails)
