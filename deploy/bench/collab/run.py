"""Sends edits at a rate from many clients and collects when everybody else had each of them."""

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time

from deploy.bench.collab.client import Arrivals, Client, Door, join, leave
from deploy.bench.collab.edits import Script, text_of
from deploy.bench.collab.servers import Server, cpu_seconds, resident
from deploy.bench.collab.wire import frame

BUCKET_SECONDS = 1e-5
BUCKETS = 1_000_000
QUIET_SECONDS = 0.3
"""Without an arrival, after which nothing is expected any more if all has come."""
PATIENCE_SECONDS = 3.0
"""The same if something is missing."""
DRAIN_SECONDS = 10.0
BREATH_SECONDS = 0.002
"""Longest time of only sending, after which what has arrived is read."""
GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Load:
    """Documents, clients of each, how many of these write, and edits of a writer a second."""

    documents: int
    clients: int
    writers: int
    rate: float

    @property
    def edits_per_second(self) -> float:
        return self.documents * self.writers * self.rate


@dataclass
class Outcome:
    """What one run showed."""

    sent: int = 0
    delivered: int = 0
    missing: int = 0
    doubled: int = 0
    wrong: int = 0
    """Documents that a fresh client reads with other characters."""
    seconds: float = 0.0
    cpu: float = 0.0
    database_cpu: float = 0.0
    own_cpu: float = 0.0
    """Of this generator, in seconds."""
    late: float = 0.0
    """Longest time from when an edit was due until it was sent."""
    rss: int = 0
    ended: list[str] = field(default_factory=list)
    histogram: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Delivered edits a second."""
        return self.delivered / self.seconds

    @property
    def micros(self) -> float:
        """Server CPU for each delivered edit."""
        return self.cpu / max(1, self.delivered) * 1e6

    @property
    def database_micros(self) -> float:
        return self.database_cpu / max(1, self.delivered) * 1e6

    def percentile(self, percent: float) -> float:
        """Milliseconds from a write to another client's read; endless for what never came."""
        wanted = (self.delivered + self.missing) * percent / 100
        passed = 0
        for bucket, count in enumerate(self.histogram):
            passed += count
            if passed >= wanted:
                return (bucket + 1) * BUCKET_SECONDS * 1000
        return float("inf")

    def described(self) -> str:
        """In a line, for whoever watches."""
        ended = f", {len(self.ended)} connections ended ({self.ended[0]})" if self.ended else ""
        return (
            f"p95 {self.percentile(95):.1f} ms, {self.missing:,} missing, {self.wrong} wrong, "
            f"sent {self.late * 1000:.0f} ms late{ended}"
        )

    @property
    def complete(self) -> bool:
        """Whether everybody got everything and a fresh client reads it."""
        return not (self.missing or self.wrong or self.ended)


@dataclass
class _Document:
    name: str
    clients: list[Client]
    frames: list[list[bytes]]
    """By writer."""
    markers: list[list[bytes]]
    updates: list[list[bytes]]
    sent: dict[bytes, float] = field(default_factory=dict)


async def run(server: Server, load: Load, seconds: float, script: Script) -> Outcome:
    """Measure one load on a started server, then have a fresh client check every character."""
    each = max(1, round(load.rate * seconds))
    names = await server.documents(load.documents)
    doors = await server.doors([name for name in names for _ in range(load.clients)])
    joined = await join(doors, server.framing)
    try:
        documents = [
            _document(server, name, joined[at * load.clients : (at + 1) * load.clients], load.writers, each, script)
            for at, name in enumerate(names)
        ]
        outcome = await _measured(server, documents, load, each)
        fresh = await _read(server, await server.doors(names))
    finally:
        leave(joined)
    for document, text in zip(documents, fresh, strict=True):
        wanted = (u for mine in zip(document.updates, document.markers, strict=True) for u in _sent(mine, document))
        outcome.wrong += text != text_of(wanted)
    return outcome


def _sent(mine: tuple[list[bytes], list[bytes]], document: _Document) -> list[bytes]:
    return [update for update, marker in zip(*mine, strict=True) if marker in document.sent]


async def _read(server: Server, doors: Sequence[Door]) -> list[str]:
    clients = await join(doors, server.framing, keep=True)
    texts = [text_of(client.updates) for client in clients]
    leave(clients)
    return texts


def _document(server: Server, name: str, clients: list[Client], writers: int, each: int, script: Script) -> _Document:
    mine = script.writers(writers, each)
    framing = server.framing
    return _Document(
        name,
        clients,
        [[frame(framing.update(name, update)) for update in writer.updates[:each]] for writer in mine],
        [writer.markers[:each] for writer in mine],
        [writer.updates[:each] for writer in mine],
    )


async def _measured(server: Server, documents: list[_Document], load: Load, each: int) -> Outcome:
    arrivals = Arrivals()
    for document in documents:
        for client in document.clients:
            client.listen(arrivals)
    outcome = Outcome(sent=each * load.writers * load.documents)
    gc.collect()
    gc.disable()
    try:
        before = _cpu(server)
        begun = perf_counter()
        outcome.late = await _pace(documents, load, each)
        await _quiet(arrivals, outcome.sent * (load.clients - 1))
        after = _cpu(server)
    finally:
        gc.enable()
    outcome.cpu, outcome.database_cpu, outcome.own_cpu = (b - a for a, b in zip(before, after, strict=True))
    outcome.rss = resident(server.processes())
    _count(outcome, documents, begun)
    return outcome


def _cpu(server: Server) -> tuple[float, float, float]:
    """Seconds used by the server, its database and this process."""
    return cpu_seconds(server.processes()), cpu_seconds(server.databases()), process_time()


async def _pace(documents: list[_Document], load: Load, each: int) -> float:
    """Send everything when it is due; the longest delay."""
    writers = [
        (document.sent, document.clients[n].write, document.frames[n], document.markers[n])
        for document in documents
        for n in range(load.writers)
    ]
    phases = sorted((at * GOLDEN % 1.0, at) for at in range(len(writers)))
    order = [(phase / load.rate, writers[at]) for phase, at in phases]
    late = 0.0
    begun = waited = perf_counter()
    for turn in range(each):
        base = begun + turn / load.rate
        for phase, (sent, write, frames, markers) in order:
            due = base + phase
            now = perf_counter()
            while now < due or now - waited > BREATH_SECONDS:
                await asyncio.sleep(max(0.0, due - now))
                now = waited = perf_counter()
            late = max(late, now - due)
            try:
                write(frames[turn])
            except RuntimeError:  # uvloop: the server has closed it, which its client has noted
                continue
            sent[markers[turn]] = now
    return late


async def _quiet(arrivals: Arrivals, expected: int) -> None:
    """Until nothing arrives any more; a server that owes something gets longer (some echo, so more is fine)."""
    end = perf_counter() + DRAIN_SECONDS
    before, changed = -1, perf_counter()
    while perf_counter() < end:
        await asyncio.sleep(QUIET_SECONDS)
        if arrivals.count != before:
            before, changed = arrivals.count, perf_counter()
        elif before >= expected or perf_counter() - changed > PATIENCE_SECONDS:
            return


def _count(outcome: Outcome, documents: list[_Document], begun: float) -> None:
    """Latencies of each client's first sight of each edit that is not his own."""
    histogram, last = [0] * BUCKETS, begun
    for document in documents:
        sent = document.sent
        for number, client in enumerate(document.clients):
            own = document.markers[number] if number < len(document.markers) else []
            seen = set(own)
            strange = 0
            for now, markers in client.log:
                for marker in markers:
                    if marker in seen:
                        strange += 1
                        continue
                    seen.add(marker)
                    histogram[min(BUCKETS - 1, int((now - sent[marker]) / BUCKET_SECONDS))] += 1
            got = len(seen) - len(own)
            outcome.delivered += got
            outcome.missing += len(sent) - sum(marker in sent for marker in own) - got
            outcome.doubled += strange
            if client.log:
                last = max(last, client.log[-1][0])
            if client.ended:
                outcome.ended.append(client.ended)
    outcome.histogram = histogram
    outcome.seconds = max(last - begun, BUCKET_SECONDS)
