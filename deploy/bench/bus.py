"""`make bench`, table `bus`: from commit to consumer, drain rate, and what the outbox costs a save.

Runs a durable private fleet of its own: auth-gateway, documents and sync, whose log is the consumer.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from deploy.bench import load
from deploy.bench.rest import CONCURRENCY, Place, machine, move_in, say
from deploy.client import Api, percentile
from deploy.local.servers import start
from deploy.tests import processes
from deploy.tests.environment import migrated

DOCUMENTS = 500
IDLE_SAVES = 100
RATE = 500.0
SECONDS = 10.0
ROUNDS = 3
BACKLOG = 50_000
UPDATED = "documents.document.updated.v1"

LAG = """
    SELECT extract(epoch FROM recorded_at - occurred_at)::float FROM sync.sync_log
    WHERE scope_kind = 'root' AND type = %s AND occurred_at >= to_timestamp(%s)"""
FILL = f"""
    INSERT INTO documents.outbox (event_id, type, aggregate_id, aggregate_version, data, headers)
    SELECT gen_random_uuid(), '{UPDATED}', document, version,
        jsonb_build_object('document_id', document, 'workspace_id', document, 'access_root_id', document, 'version',
            version, 'content_version', version, 'content_hash', repeat('0', 64), 'size', 1000, 'title', 'Bench',
            'language', NULL, 'kind', 'text', 'merged', false, 'origin', 'save'), '{{}}'
    FROM (SELECT gen_random_uuid() AS document FROM generate_series(1, 500)) d,
        generate_series(1, %s / 500) AS version ORDER BY version"""

Numbers = dict[str, float]


@asynccontextmanager
async def _serving(environment: Mapping[str, str], variant: str = "") -> AsyncIterator[tuple[int, Place]]:
    """A fleet on these servers: its gateway's port and a place to work in."""
    with processes.fleet(environment, planted={"documents": variant}) as fleet:
        for process in fleet.processes.values():
            await process.start()
        await fleet.until_ready()
        async with Api(fleet.url) as api:
            place = await move_in(api, fleet.mails, DOCUMENTS)
        yield urlsplit(fleet.url).port or 0, place


async def _lags(admin: psycopg.AsyncConnection, since: float, count: int) -> list[float]:
    """Seconds from each save's transaction to the log's, once all `count` are there."""
    async with asyncio.timeout(60):
        while True:
            rows = await (await admin.execute(LAG, (UPDATED, since))).fetchall()
            if len(rows) >= count:
                return [row[0] for row in rows]
            await asyncio.sleep(0.2)


async def _latency(admin: psycopg.AsyncConnection, port: int, place: Place, rate: float, seconds: float) -> list[float]:
    since = time.time()
    result = await load.run(port, CONCURRENCY, seconds, place.requests()["save"], rate)
    say(f"  {result.rate:.0f} saves a second, p95 {result.percentile(0.95):.1f} ms, failures {result.failures or 0}")
    return await _lags(admin, since, len(result.latencies))


async def _drain(admin: psycopg.AsyncConnection) -> Numbers:
    """A backlog committed at once: how fast does it leave the outbox, how fast is it in the log?"""
    begun = time.perf_counter()
    before = await _count(admin, "sync.sync_log")
    async with admin.transaction():
        await admin.execute(FILL, (BACKLOG,))
    committed = time.perf_counter()
    say(f"  {BACKLOG:,} events written in {committed - begun:.1f} s")
    async with asyncio.timeout(120):
        while await _count(admin, "documents.outbox"):
            await asyncio.sleep(0.05)
        relayed = time.perf_counter()
        while await _count(admin, "sync.sync_log") < before + BACKLOG:
            await asyncio.sleep(0.05)
    logged = time.perf_counter()
    return {"relay": BACKLOG / (relayed - committed), "log": BACKLOG / (logged - committed)}


async def _count(admin: psycopg.AsyncConnection, table: str) -> int:
    row = await (await admin.execute(f"SELECT count(*) FROM {table}")).fetchone()
    assert row is not None
    return int(row[0])


async def _saves(environment: Mapping[str, str]) -> dict[str, float]:
    """Saves a second with and without an outbox row in each, by turns; the best of each."""
    best = {"": 0.0, "without_outbox": 0.0}
    async with _serving(environment) as usual, _serving(environment, "without_outbox") as without:
        for port, place in (usual, without):
            await load.run(port, CONCURRENCY, 2.0, place.requests()["save"])
        for _ in range(ROUNDS):
            for variant, (port, place) in zip(best, (usual, without), strict=True):
                result = await load.run(port, CONCURRENCY, 5.0, place.requests()["save"])
                best[variant] = max(best[variant], result.rate)
    return best


async def bench() -> None:
    with tempfile.TemporaryDirectory(prefix="mdc-bench-") as folder, start(durable=True) as backing:
        environment = migrated(backing, Path(folder))
        url = environment["MDC_ADMIN_DATABASE_URL"]
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
            async with _serving(environment) as (port, place):
                say("latency, idle")
                idle = await _latency(admin, port, place, 10.0, IDLE_SAVES / 10)
                say(f"latency at {RATE:.0f} saves a second")
                busy = await _latency(admin, port, place, RATE, SECONDS)
                say("drain")
                drained = await _drain(admin)
            say("saves with and without an outbox")
            saves = await _saves(environment)
    print(f"\n{machine()}\nbus: RabbitMQ quorum queues with confirms, fsync on; the consumer is sync's log\n")
    print("| bus | p50 | p99 |\n|---|---|---|")
    for name, lags in (("commit -> consumer, idle", idle), (f"commit -> consumer, {RATE:.0f} saves/s", busy)):
        print(f"| {name} | {percentile(lags, 50) * 1000:.1f} ms | {percentile(lags, 99) * 1000:.1f} ms |")
    print("\n| bus | rate | |\n|---|---|---|")
    print(f"| relay drains {BACKLOG:,} | {drained['relay']:,.0f} events/s | outbox to confirmed and moved |")
    print(f"| and the log has them | {drained['log']:,.0f} events/s | numbered, chained, projected |")
    usual, without = saves.values()
    print(f"| saves with outbox | {usual:,.0f} req/s | {usual / without:.0%} of {without:,.0f} without |")


def main() -> None:
    asyncio.run(bench())
