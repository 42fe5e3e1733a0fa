"""The broker is away for a minute while people write: they notice nothing, and then everything is told quickly."""

import asyncio
import time

import psycopg
import pytest
from deploy.local.servers import Servers
from deploy.tests.conftest import Teams
from deploy.tests.processes import Fleet
from deploy.tests.test_journey import Load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

AWAY_SECONDS = 60.0
DRAIN_SECONDS = AWAY_SECONDS / 2


def number(connection: psycopg.Connection, statement: str, *parameters: str) -> int:
    row = connection.execute(statement, parameters).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_minute_without_rabbitmq_under_load(ready: Fleet, teams: Teams, beneath: Servers) -> None:
    team = await teams.of(6)
    with psycopg.connect(ready.environment["MDC_ADMIN_DATABASE_URL"], autocommit=True) as admin:
        waiting = "SELECT count(*) FROM documents.outbox"
        logged = "SELECT count(*) FROM sync.sync_log WHERE scope_id = %s AND type LIKE 'documents.%%'"
        beneath["rabbitmq"].kill()
        try:
            begun, slowest = time.monotonic(), 0.0
            async with Load(team).running() as load:
                while time.monotonic() < begun + AWAY_SECONDS:
                    before = time.monotonic()
                    await load.until(1)
                    slowest = max(slowest, time.monotonic() - before)
                    await asyncio.sleep(0.05)
            backlog = number(admin, waiting)
        finally:
            await asyncio.to_thread(beneath["rabbitmq"].start)
        async with asyncio.timeout(150):
            while number(admin, waiting) == backlog:  # until the relay has found the broker again
                await asyncio.sleep(0.01)
            begun = time.monotonic()
            while number(admin, waiting):
                await asyncio.sleep(0.02)
            drained_in = time.monotonic() - begun
            while number(admin, logged, team.workspace_id) < len(load.acknowledged):
                await asyncio.sleep(0.1)
        rate = backlog / drained_in
        print(f"{backlog:,} events waited, drained at {rate:,.0f}/s; longest wait for a save {slowest:.2f} s")
        assert load.failures == 0
        assert slowest < 2.0, "saves do not wait for the broker"
        assert backlog >= len(load.acknowledged) > 3000
        assert drained_in < DRAIN_SECONDS, "what a minute piled up is told in half of it, on any machine"
        assert number(admin, logged, team.workspace_id) == len(load.acknowledged), "each once"
    await ready.until_ready()
