"""What is measured: each scenario runs one server once and gives its numbers by name."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from pycrdt import merge_updates

from deploy.bench.collab.client import join, leave
from deploy.bench.collab.edits import LongDocument, Script, text_of
from deploy.bench.collab.run import Load, Outcome, run
from deploy.bench.collab.servers import Server, cpu_seconds, resident
from deploy.bench.rest import say

GOOD_P95_MS = 50.0
WARM_UP = Load(1, 10, 10, 50.0)
CONTENT_EDITS = 200
"""Edits in a document that many connect to."""
TYPING_RATE = 5.0
WRITERS = 10
TRIES = 2
LATE_SECONDS = 0.05
"""A generator that sends so much later than planned measures itself."""

Numbers = dict[str, float]


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    typing_seconds: float = 10.0
    warm_up_seconds: float = 2.0
    step_seconds: float = 2.0
    long: int = 260_000
    connects: int = 1_000
    idle: int = 1_000
    many: int = 5_000
    settle_seconds: float = 3.0
    most_delivered: float = 3_000_000.0
    """Edits a second after which nobody is asked for more."""
    halvings: int = 2
    """Steps between the last good rate and the first bad one."""


QUICK = Sizes(
    typing_seconds=2.0, warm_up_seconds=0.5, step_seconds=0.7, long=20_000, connects=200, idle=200, many=1_000,
    settle_seconds=1.0, most_delivered=20_000.0, halvings=0,
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What scenarios share: sizes, the edits, the long document."""

    sizes: Sizes
    script: Script
    long: Callable[[], LongDocument]


@dataclass(frozen=True)
class Scenario:
    """A row of the report; the metrics in which more is better are named."""

    title: str
    work: Callable[[Server, Bench], Awaitable[Numbers]]
    more: frozenset[str] = frozenset()
    judged: bool = False
    """Whether its latencies have to meet the aims."""


async def _started(server: Server, bench: Bench) -> None:
    await server.start()
    await run(server, WARM_UP, bench.sizes.warm_up_seconds, bench.script)


async def _typing(documents: int, clients: int, server: Server, bench: Bench) -> Numbers:
    await _started(server, bench)
    load = Load(documents, clients, min(WRITERS, clients), TYPING_RATE)
    outcome = await run(server, load, bench.sizes.typing_seconds, bench.script)
    return {
        "CPU µs/edit": outcome.micros,
        "PostgreSQL µs/edit": outcome.database_micros,
        "p50 ms": outcome.percentile(50),
        "p95 ms": outcome.percentile(95),
        "p99 ms": outcome.percentile(99),
        "RSS MB": outcome.rss / 1e6,
        "lost": outcome.missing + outcome.wrong + len(outcome.ended),
    }


def _good(outcome: Outcome) -> bool:
    return outcome.complete and outcome.percentile(95) < GOOD_P95_MS and outcome.late < LATE_SECONDS


@dataclass
class _Steps:
    """Loads at rising rates."""

    server: Server
    bench: Bench
    documents: int
    clients: int
    best: float = 0.0
    micros: float = 0.0
    database_micros: float = 0.0
    """CPU of the server, and of its database, for each delivered edit at the best."""
    own: float = 0.0
    """Cores the generator used then."""
    limited: bool = False
    """Whether the server's own limit is what ended the search."""
    late: bool = False
    """Whether the last step that was no good was so because of the generator."""

    async def good(self, delivered: float) -> bool:
        """Whether the server delivers so many edits a second; once more if the generator was late."""
        rate = delivered / (self.documents * self.clients * (self.clients - 1))
        self.limited = rate > self.server.most_rate
        if self.limited:
            return False
        load = Load(self.documents, self.clients, self.clients, rate)
        for _ in range(TRIES):
            outcome = await run(self.server, load, self.bench.sizes.step_seconds, self.bench.script)
            if _good(outcome):
                if outcome.rate > self.best:
                    self.best, self.own = outcome.rate, outcome.own_cpu / outcome.seconds
                    self.micros, self.database_micros = outcome.micros, outcome.database_micros
                return True
            self.late = outcome.late >= LATE_SECONDS
            say(f"  {delivered:,.0f}/s is too much: {outcome.described()}")
            if not self.late:
                break
        return False

    async def climb(self, rate: float) -> None:
        """Double the rate until it is too much, then look between the last good step and that one."""
        lowest = rate / 64
        while not await self.good(rate):
            if rate < lowest:
                return
            rate /= 4
        high = rate * 2
        while high < self.bench.sizes.most_delivered and await self.good(high):
            rate, high = high, high * 2
        for _ in range(self.bench.sizes.halvings):
            middle = (rate * high) ** 0.5
            rate, high = (middle, high) if await self.good(middle) else (rate, middle)


async def _saturation(documents: int, clients: int, begin: float, server: Server, bench: Bench) -> Numbers:
    await _started(server, bench)
    steps = _Steps(server, bench, documents, clients)
    await steps.climb(begin)
    return {
        "delivered edits/s": steps.best,
        "CPU µs/edit": steps.micros,
        "PostgreSQL µs/edit": steps.database_micros,
        "generator CPU %": steps.own * 100,
        "generator late": float(steps.late),
        "own limit": float(steps.limited),
    }


async def _cold(server: Server, bench: Bench) -> Numbers:
    """From the first connection to a document that is not in memory until it is synced."""
    if not server.stores:
        raise OSError("keeps nothing")
    long = await asyncio.to_thread(bench.long)
    await server.start(long)
    name = await server.cold()
    processes, databases = server.processes(), server.databases()
    doors = await server.doors([name])
    before = [cpu_seconds(processes), cpu_seconds(databases)]
    begun = perf_counter()
    clients = await join(doors, server.framing, keep=True)
    elapsed = perf_counter() - begun
    cpu = cpu_seconds(processes) - before[0]
    leave(clients)
    wrong = text_of(clients[0].updates) != await asyncio.to_thread(long.text)
    return {
        "synced ms": elapsed * 1000,
        "CPU ms": cpu * 1000,
        "PostgreSQL CPU ms": (cpu_seconds(databases) - before[1]) * 1000,
        "lost": float(wrong),
    }


async def _connects(documents: int, server: Server, bench: Bench) -> Numbers:
    """All of them at once, on documents that others have open."""
    count = bench.sizes.connects
    await _started(server, bench)
    names = await server.documents(documents)
    holders = await join(await server.doors(names), server.framing)
    (writer,) = bench.script.writers(1, CONTENT_EDITS)
    content = merge_updates(*writer.updates[:CONTENT_EDITS])
    for holder in holders:
        holder.send(server.framing.update(holder.door.document, content))
    await asyncio.sleep(bench.sizes.settle_seconds)
    doors = await server.doors([names[n % documents] for n in range(count)])
    processes = server.processes()
    before, begun = cpu_seconds(processes), perf_counter()
    clients = await join(doors, server.framing, together=True)
    elapsed, cpu = perf_counter() - begun, cpu_seconds(processes) - before
    leave([*holders, *clients])
    return {"all synced ms": elapsed * 1000, "CPU ms/connect": cpu / count * 1000}


async def _idle(documents: int, clients: int, server: Server, bench: Bench) -> Numbers:
    """Memory before and after so many connections that say nothing."""
    clients = int(min(clients, server.most_clients))
    await _started(server, bench)
    names = await server.documents(documents)
    doors = await server.doors([name for name in names for _ in range(clients)])
    processes = server.processes()
    before = resident(processes)
    joined = await join(doors, server.framing)
    await asyncio.sleep(bench.sizes.settle_seconds)
    after, spent = resident(processes), cpu_seconds(processes)
    await asyncio.sleep(bench.sizes.settle_seconds)
    spent = cpu_seconds(processes) - spent
    ended = sum(bool(client.ended) for client in joined)
    leave(joined)
    return {
        "connections": float(len(joined)),
        "KB/connection": (after - before) / len(joined) / 1e3,
        "RSS MB": after / 1e6,
        "idle CPU ms/s": spent / bench.sizes.settle_seconds * 1000,
        "lost": float(ended),
    }


def scenarios(sizes: Sizes) -> dict[str, Scenario]:
    """All, by the name they are chosen by."""
    found = {}
    for documents, clients in ((1, 10), (1, 50), (1, 200), (100, 2), (500, 2)):
        title = f"typing: {documents} x {clients} clients, {min(WRITERS, clients)} of each type {TYPING_RATE:g} edits/s"
        found[f"typing-{documents}x{clients}"] = Scenario(title, partial(_typing, documents, clients), judged=True)
    for documents, clients, begin in ((1, 50, 40_000.0), (1, 200, 40_000.0), (100, 2, 4_000.0)):
        found[f"saturation-{documents}x{clients}"] = Scenario(
            f"saturation: {documents} x {clients} clients, all type; the last step with p95 < {GOOD_P95_MS:g} ms",
            partial(_saturation, documents, clients, begin), frozenset({"delivered edits/s"}),
        )  # fmt: skip
    found["cold"] = Scenario(f"cold load: one document of {sizes.long:,} single-character edits", _cold)
    found["connects"] = Scenario(f"{sizes.connects:,} connects on 100 documents", partial(_connects, 100))
    found["idle-connections"] = Scenario(f"idle: 1 document x {sizes.idle:,}", partial(_idle, 1, sizes.idle))
    found["idle-documents"] = Scenario(f"idle: {sizes.idle:,} documents x 1", partial(_idle, sizes.idle, 1))
    found["idle-many"] = Scenario(f"idle: 100 documents x {sizes.many // 100}", partial(_idle, 100, sizes.many // 100))
    return found


QUICK_NAMES = ("typing-1x50", "saturation-100x2", "cold", "connects")
