"""`make bench`, table `sync`: what devices wait for, beside PouchDB replicating the same documents in the same run.

Runs a durable private fleet of its own, all calls through its gateway; both sides' clients keep their state in memory.
"""

import argparse
import asyncio
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import psycopg

from common.identifiers import uuid7
from deploy.bench import pouch
from deploy.bench.rest import machine, say
from deploy.client import Api, Person, at_most, invitation_token, percentile
from deploy.device import Device, MemoryStore
from deploy.local.servers import start
from deploy.tests import processes
from deploy.tests.environment import migrated

DOCUMENTS = 10_000
SIZE = 1_000
"""Bytes of a text."""
EDITS = 200
STREAMS = 1_000
LISTENERS = 20
"""People whose devices the streams are."""
MEMORY_AIM = 60.0


@dataclass
class Numbers:
    """Rates by the second, latencies in milliseconds, memory in MB."""

    rates: dict[str, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    pokes: list[float] = field(default_factory=list)
    streams: int = 0
    stream_mb: float = 0.0


class Bench:
    """A workspace, the device that writes and those that read."""

    def __init__(self, fleet: processes.Fleet, admin: psycopg.AsyncConnection, options: argparse.Namespace) -> None:
        self._fleet = fleet
        self._admin = admin
        self._documents: int = options.documents
        self._streams: int = options.streams
        self.numbers = Numbers()

    async def run(self, people: list[Person], session: aiohttp.ClientSession) -> None:
        """All rows, one after the other."""
        workspace = await people[0].make_workspace("Bench")
        await at_most(4, [partial(self._join, people[0], person, workspace) for person in people[1:]])
        writer, reader = [await self._device(person, session) for person in people[:2]]
        await writer.pull()
        ids = [writer.state.create(workspace, f"Bench {n}", _text(n)) for n in range(self._documents)]
        await self._rate("push", writer.push)
        await self._rate("bootstrap", reader.pull)
        say("changing everything")
        await writer.pull()
        for id_ in ids:
            writer.state.edit(id_, _text(id_))
        await self._rate("push of changes", writer.push)
        await self._rate("pull", reader.pull)
        await self._latency(writer, reader, ids[:EDITS])
        await self._poke(people, writer, ids[0], session)

    async def _join(self, owner: Person, person: Person, workspace: str) -> None:
        await owner.invite(workspace, person.email)
        await person.accept_invitation(await invitation_token(self._fleet.mails, person.email))

    async def _device(self, person: Person, session: aiohttp.ClientSession) -> Device:
        device = Device(
            self._fleet.url, lambda: person.token, MemoryStore(), lambda: str(uuid7()), session, name="Bench"
        )
        await device.register()
        return device

    async def _rate(self, what: str, work: Callable[[], Awaitable[Any]]) -> None:
        """How many documents a second, once nothing is on its way any more; what is refused is a failure."""
        begun = time.perf_counter()
        done = await work()
        self.numbers.rates[what] = self._documents / (time.perf_counter() - begun)
        if isinstance(done, list) and any(result["status"] != "applied" for result in done):
            raise SystemExit(f"{what}: not everything was applied")
        say(f"  {what} {self.numbers.rates[what]:,.0f}/s")
        await self._quiet()

    async def _quiet(self) -> None:
        """Until every event has left documents and the log has all of them."""
        logged, before = -1, -2
        while logged != before:
            before = logged
            await asyncio.sleep(1.0)
            row = await (
                await self._admin.execute(
                    "SELECT (SELECT count(*) FROM sync.sync_log), (SELECT count(*) FROM documents.outbox)"
                )
            ).fetchone()
            assert row is not None
            logged = row[0] if not row[1] else before - 1

    async def _latency(self, writer: Device, reader: Device, ids: list[str]) -> None:
        """From handing an edit in until another device has the text: its poke and its pull."""
        say("one edit after the other")
        arrived: asyncio.Queue[str] = asyncio.Queue()

        async def listen() -> None:
            async for _ in reader.pokes():
                await reader.pull()
                arrived.put_nowait("")

        listening = asyncio.create_task(listen())
        await arrived.get()
        for id_ in ids:
            text = _text(id_, 1)
            writer.state.edit(id_, text)
            begun = time.perf_counter()
            await writer.push()
            while reader.state.text(id_) != text:
                await arrived.get()
            self.numbers.latencies.append((time.perf_counter() - begun) * 1000)
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening

    async def _poke(self, people: list[Person], writer: Device, id_: str, session: aiohttp.ClientSession) -> None:
        """One edit while many streams are open: what they cost, and when each hears of it."""
        say(f"{self._streams} streams")
        devices = [partial(self._device, people[n % LISTENERS], session) for n in range(self._streams)]
        made: list[Device] = []

        async def make(device: Callable[[], Awaitable[Device]]) -> None:
            made.append(await device())

        await at_most(8, [partial(make, device) for device in devices])
        process = psutil.Process(self._fleet["sync"].pid)
        before = process.memory_info().rss
        heard: list[float] = []
        begun = 0.0
        async with AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(_stream(self._fleet.url, device, session)) for device in made]
            await asyncio.sleep(2.0)
            self.numbers.stream_mb = (process.memory_info().rss - before) / 1e6
            self.numbers.streams = len(streams)

            async def hear(lines: aiohttp.StreamReader) -> None:
                async for line in lines:
                    if line.startswith(b"data: ") and begun:
                        heard.append((time.perf_counter() - begun) * 1000)
                        return

            hearing = [asyncio.create_task(hear(lines)) for lines in streams]
            await asyncio.sleep(1.0)
            writer.state.edit(id_, _text(id_, 2))
            begun = time.perf_counter()
            await writer.push()
            await asyncio.wait(hearing, timeout=30)
            for task in hearing:
                task.cancel()
        self.numbers.pokes = heard


@asynccontextmanager
async def _stream(url: str, device: Device, session: aiohttp.ClientSession) -> AsyncIterator[aiohttp.StreamReader]:
    headers = {"Authorization": f"Bearer {device.token}"}
    timeout = aiohttp.ClientTimeout(total=None)
    path = f"{url}/v1/sync/stream?device_id={device.id}"
    async with session.get(path, headers=headers, timeout=timeout) as answer:
        if answer.status != 200:
            raise SystemExit(f"a stream was refused: {answer.status} {await answer.text()}")
        yield answer.content


async def _sign_up(api: Api, number: int) -> Person:
    return await api.sign_up(f"bench-{uuid.uuid4().hex}@example.org", uuid.uuid4().hex, f"Bench {number}")


def _text(*marks: object) -> str:
    return f"# Document {' '.join(map(str, marks))}\n\n" + "lorem ipsum " * (SIZE // 12)


async def bench(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="mdc-bench-") as folder, start(durable=True) as backing:
        environment = migrated(backing, Path(folder))
        url = environment["MDC_ADMIN_DATABASE_URL"]
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            await psycopg.AsyncConnection.connect(url, autocommit=True) as admin,
            aiohttp.ClientSession(connector=connector) as session,
        ):
            with processes.fleet(environment) as fleet:
                for process in fleet.processes.values():
                    await process.start()
                await fleet.until_ready()
                async with Api(fleet.url) as api:
                    people = await at_most(4, [partial(_sign_up, api, n) for n in range(LISTENERS)])
                    ours = Bench(fleet, admin, options)
                    await ours.run(people, session)
    say("pouchdb-server --in-memory")
    theirs = await pouch.measure(options.documents, SIZE, options.streams)
    report(ours.numbers, theirs, options.documents)


def report(ours: Numbers, theirs: dict[str, Any], documents: int) -> None:
    print(f"\n{machine()}\n{documents:,} documents of {SIZE:,} bytes; ours durable, pouchdb-server in memory\n")
    print("| sync | ours | pouchdb-server | ratio |\n|---|---|---|---|")
    for name, theirs_name in (("push", "push"), ("bootstrap", "bootstrap"), ("pull", "pull")):
        mine, other = ours.rates[name], theirs[theirs_name]
        print(f"| {name}, documents/s | {mine:,.0f} | {other:,.0f} | {mine / other:.2f} |")
    for at, percent in enumerate((50, 95, 99)):
        mine, other = percentile(ours.latencies, percent), theirs["latency"][at]
        print(f"| A -> B p{percent}, ms | {mine:.1f} | {other:.1f} | {other / mine:.2f} |")
    mine, other = ours.stream_mb / ours.streams * 1000, theirs["stream_mb"] / theirs["streams"] * 1000
    print(f"| memory per stream, KB | {mine:.1f} | {other:.1f} | {other / mine:.2f} |")
    lags = theirs["poke_ms"] or [float("nan")] * 2
    for percent, other in zip((50, 99), lags, strict=True):
        mine = percentile(ours.pokes, percent)
        print(f"| poke p{percent} with {ours.streams:,} streams, ms | {mine:.0f} | {other:.0f} | {other / mine:.2f} |")
    print(f"\npush of changed texts: {ours.rates['push of changes']:,.0f}/s")
    print(
        f"{ours.streams:,} streams: {ours.stream_mb:.1f} MB (aim: < {MEMORY_AIM:.0f}); heard {len(ours.pokes):,} "
        f"pokes, pouchdb {theirs['poked']:,} of {theirs['streams']:,} (it was asked for as many streams)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--streams", type=int, default=STREAMS)
    asyncio.run(bench(parser.parse_args()))
