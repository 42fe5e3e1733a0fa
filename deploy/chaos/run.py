"""One run: a durable fleet of its own with every line passing through us, the load, the faults, the verdict."""

import asyncio
import random
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from deploy.chaos import faults, verdict
from deploy.chaos.devices import Devices
from deploy.chaos.line import Line
from deploy.chaos.load import PASSWORD, Crowd, Ledger
from deploy.client import Api, Person, digest, invitation_token
from deploy.local.machine import LOOPBACK
from deploy.local.servers import Servers, start
from deploy.progress import say
from deploy.tests import processes
from deploy.tests.environment import migrated
from deploy.tests.processes import Fleet

PEOPLE = 8
CLIENT_SECONDS = 10.0
CRASH = '"level": "CRITICAL"'
WRITING = ("auth-gateway", "documents", "sync")
LIMITS = {"MDC_RATE_READ_PER_MINUTE": "1000000", "MDC_RATE_WRITE_PER_MINUTE": "1000000"}


@dataclass(frozen=True)
class Storm:
    """What to do to which services for how long."""

    seconds: float
    services: Sequence[str]
    times: faults.Times
    seed: int
    planted: str = ""
    """A bug documents has, from `deploy/tests/planted`."""
    standstill: float = verdict.STANDSTILL_SECONDS
    """What is not in the log after so many seconds without a new entry is lost."""


@dataclass(frozen=True)
class Outcome:
    """What a run found."""

    ledger: Ledger
    verdict: verdict.Verdict
    outages: dict[str, tuple[int, float]]

    @property
    def clean(self) -> bool:
        return self.verdict.clean and not self.ledger.unexpected


async def run(storm: Storm) -> Outcome:
    """Start everything, let it storm, look for the damage."""
    say(f"Starting servers, {len(storm.services)} services and the lines between them")
    with tempfile.TemporaryDirectory(prefix="mdc-chaos-") as folder, start(durable=True) as backing:
        environment = migrated(backing, Path(folder)) | LIMITS
        async with (
            _lines(backing, environment) as (lines, redirected),
            _fleet(storm, redirected, lines) as (fleet, url),
        ):
            return await _storm(storm, backing, fleet, lines, url)


@asynccontextmanager
async def _lines(
    backing: Servers, environment: dict[str, str]
) -> AsyncIterator[tuple[dict[str, list[Line]], dict[str, str]]]:
    """One line to each server, and the environment that uses it."""
    lines, redirected = {}, dict(environment)
    for name, url in (("postgres", backing.postgres_url), ("redis", backing.redis_url), ("rabbitmq", backing.amqp_url)):
        port = urlsplit(url).port
        assert port is not None
        line = Line(port)
        await line.open()
        lines[name] = [line]
        redirected = {
            key: value.replace(f"@{LOOPBACK}:{port}", f"@{LOOPBACK}:{line.port}") for key, value in redirected.items()
        }
    try:
        yield lines, redirected
    finally:
        for group in lines.values():
            for line in group:
                line.close()


@asynccontextmanager
async def _fleet(
    storm: Storm, environment: dict[str, str], lines: dict[str, list[Line]]
) -> AsyncIterator[tuple[Fleet, str]]:
    """The fleet, ready; lines between services and to the gateway are added to `lines`."""
    peers: list[Line] = []

    def line_to(port: int) -> int:
        peers.append(Line(port))
        return peers[-1].port

    with processes.fleet(environment, storm.services, planted={"documents": storm.planted}, line_to=line_to) as fleet:
        clients = Line(urlsplit(fleet.url).port or 0)
        lines |= {"peers": peers, "clients": [clients]}
        for line in (*peers, clients):
            await line.open()
        for process in fleet.processes.values():
            await process.start()
        await fleet.until_ready()
        yield fleet, f"http://{LOOPBACK}:{clients.port}"


async def _storm(storm: Storm, backing: Servers, fleet: Fleet, lines: dict[str, list[Line]], url: str) -> Outcome:
    dice = random.Random(storm.seed)
    async with (
        Api(url, timeout_seconds=CLIENT_SECONDS) as api,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CLIENT_SECONDS)) as session,
    ):
        crowd = await _gather(api, fleet, dice)
        devices = await _devices(crowd, fleet, url, session, storm.seed)
        writing = asyncio.gather(crowd.write(), devices.write(crowd.over))
        lanes = (
            faults.services_lane(fleet, storm.services, storm.times),
            faults.servers_lane(backing, lines, storm.times, dice),
        )
        say(f"Storm: {len(lanes[0])} kills of services, {len(lanes[1])} faults of servers and lines, seed {storm.seed}")
        try:
            struck = await _strike(lanes, storm.seconds, crowd)
            struck += await faults.run(faults.quiet_lane(lines), 0.0, crowd.ledger)
        except faults.NobodyWritesError:
            await asyncio.to_thread(_tell_of, fleet)
            raise
        crowd.over.set()
        await writing
        say("The storm is over; reading everything back")
        await fleet.until_ready()
        crowd.ledger.unexpected += _crashes(fleet)
        crowd.ledger.unexpected += await devices.judge()
        say(f"  {devices}")
        found = await verdict.judge(crowd, storm.standstill)
        projecting = [name for name in storm.services if name != "auth-gateway"]
        admin_url = fleet.environment["MDC_ADMIN_DATABASE_URL"]
        await verdict.projections(admin_url, projecting, crowd, found, storm.standstill)
        return Outcome(crowd.ledger, found, faults.longest_outages(struck, crowd.ledger.times))


def _tell_of(fleet: Fleet) -> None:
    for name, process in fleet.processes.items():
        status, checks = process.ready()
        say(f"  {name}: {status} {dict(checks)}\n{process.complaints()}")


async def _devices(crowd: Crowd, fleet: Fleet, url: str, session: aiohttp.ClientSession, seed: int) -> Devices:
    """Two people's devices in a workspace of their own."""
    first, second = crowd.people[:2]
    workspace_id = await first.make_workspace("Devices")
    await first.invite(workspace_id, second.email)
    await second.accept_invitation(await invitation_token(fleet.mails, second.email))
    return await Devices.gather(url, [first, second], workspace_id, fleet.state, session, seed)


async def _strike(lanes: Sequence[Sequence[faults.Fault]], seconds: float, crowd: Crowd) -> list[faults.Struck]:
    reporting = asyncio.create_task(_report(crowd.ledger))
    try:
        done = await asyncio.gather(*(faults.run(lane, seconds, crowd.ledger) for lane in lanes))
    finally:
        reporting.cancel()
    return [struck for lane in done for struck in lane]


def _crashes(fleet: Fleet) -> list[str]:
    """Services that ended by themselves, of a bug."""
    critical = [
        (name, line) for name, one in fleet.processes.items() for line in one.log().splitlines() if CRASH in line
    ]
    return [f"{name}: {line[:1000]}" for name, line in critical]


async def _report(ledger: Ledger) -> None:
    begun = time.monotonic()
    while True:
        await asyncio.sleep(10.0)
        say(
            f"  {time.monotonic() - begun:4.0f} s  {ledger.acknowledged:,} writes acknowledged, "
            f"{ledger.unanswered:,} without an answer"
        )


async def _gather(api: Api, fleet: Fleet, dice: random.Random) -> Crowd:
    """People in one workspace with one document they share."""
    run = secrets.token_hex(4)
    people: list[Person] = [
        await api.sign_up(f"chaos-{number}-{run}@example.org", PASSWORD, f"Person {number}") for number in range(PEOPLE)
    ]
    workspace_id = await people[0].make_workspace("Chaos")
    for person in people[1:]:
        await people[0].invite(workspace_id, person.email)
        await person.accept_invitation(await invitation_token(fleet.mails, person.email))
    text = b"# Everybody\n\n"
    shared = (await people[0].create(workspace_id, "Shared", text)).json()["id"]
    ledger = Ledger(contents={(shared, 1): digest(text)})
    return Crowd(api, people, workspace_id, shared, ledger, dice)
