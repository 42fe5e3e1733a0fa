"""What is done to the fleet: services and servers are killed in turn, lines between them are cut or go dead."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from deploy.chaos.line import Line
from deploy.chaos.load import Ledger
from deploy.local.servers import Running, Servers
from deploy.tests.processes import Fleet, Process

CALM_SECONDS = 0.2
JUST_BEFORE = 0.3
PATIENCE_SECONDS = 60.0


class NobodyWritesError(Exception):
    """The fleet did not come back after a fault."""


class Fault(NamedTuple):
    """Something to do; it is over when `strike` returns."""

    kind: str
    strike: Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Struck:
    """A fault that was on from `begun` to `ended` (monotonic seconds)."""

    kind: str
    begun: float
    ended: float


class Times(NamedTuple):
    """How often each kind is done at least."""

    service_kills: int = 10
    server_kills: int = 5
    cuts: int = 3
    dead_lines: int = 2


def services_lane(fleet: Fleet, services: Sequence[str], times: Times) -> list[Fault]:
    """Each service in turn."""
    return [Fault(f"kill {name}", _killer(fleet[name])) for _ in range(times.service_kills) for name in services]


def servers_lane(backing: Servers, lines: dict[str, list[Line]], times: Times, dice: random.Random) -> list[Fault]:
    """Servers are killed, lines cut and gone dead, in an order of chance."""
    kills = [Fault(f"kill {name}", _server_killer(backing[name])) for name in ("postgres", "redis", "rabbitmq")]
    cuts = [Fault(f"cut {name}", _cutter(group)) for name, group in lines.items()]
    dead = [Fault(f"dead line {name}", _silencer(group)) for name, group in lines.items()]
    faults = kills * times.server_kills + cuts * times.cuts + dead * times.dead_lines
    dice.shuffle(faults)
    return faults


def quiet_lane(lines: dict[str, list[Line]]) -> list[Fault]:
    """After the storm: dead lines and cuts alone. Nobody is started anew, so whoever hangs stays so and is found."""
    servers = {name: group for name, group in lines.items() if name != "clients"}
    dead = [Fault(f"dead line {name}", _silencer(group)) for name, group in servers.items()]
    return [*dead, *(Fault(f"cut {name}", _cutter(group)) for name, group in servers.items())]


def _killer(process: Process) -> Callable[[], Awaitable[None]]:
    async def strike() -> None:
        await process.kill()
        await process.start()

    return strike


def _server_killer(server: Running) -> Callable[[], Awaitable[None]]:
    async def strike() -> None:
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)

    return strike


def _cutter(group: Sequence[Line]) -> Callable[[], Awaitable[None]]:
    async def strike() -> None:
        for line in group:
            line.cut()

    return strike


def _silencer(group: Sequence[Line]) -> Callable[[], Awaitable[None]]:
    async def strike() -> None:
        for line in group:
            line.go_dead()

    return strike


async def run(lane: Sequence[Fault], seconds: float, ledger: Ledger) -> list[Struck]:
    """Strike one fault after the other, evenly over `seconds` or longer; each ends with the next acknowledged write."""
    begun = time.monotonic()
    struck = []
    for number, fault in enumerate(lane):
        await asyncio.sleep(begun + seconds * number / len(lane) - time.monotonic())
        at = time.monotonic()
        await fault.strike()
        await _written_again(ledger, time.monotonic())
        struck.append(Struck(fault.kind, at, time.monotonic()))
        await asyncio.sleep(CALM_SECONDS)
    return struck


async def _written_again(ledger: Ledger, since: float) -> None:
    """Wait for the next acknowledged write. Raises `NobodyWritesError` if there is none for a minute."""
    while time.monotonic() < since + PATIENCE_SECONDS:
        if ledger.times and ledger.times[-1] >= since:
            return
        await asyncio.sleep(0.01)
    raise NobodyWritesError(f"no write was acknowledged for {PATIENCE_SECONDS:.0f} s")


def longest_outages(struck: Sequence[Struck], times: Sequence[float]) -> dict[str, tuple[int, float]]:
    """Per kind: how often, and the longest silence (no write acknowledged) that began while it was on.

    A silence that was there before the fault is not counted for it; faults of both lanes at once share theirs.
    """
    silences = list(pairwise(times))
    found: dict[str, tuple[int, float]] = {}
    for fault in struck:
        count, longest = found.get(fault.kind, (0, 0.0))
        its = (end - start for start, end in silences if fault.begun - JUST_BEFORE <= start <= fault.ended)
        found[fault.kind] = count + 1, max(longest, max(its, default=0.0))
    return found
