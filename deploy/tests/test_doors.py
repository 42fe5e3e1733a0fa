"""No door stays open because something else is down: all six services as processes, with servers of their own."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from deploy.bench.revoke import DECIDING, KINDS, World, watched
from deploy.local.servers import Servers

from common.access.projection import NEGATIVE_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest_asyncio.fixture(scope="module")
async def house() -> AsyncIterator[tuple[World, Servers]]:
    async with watched() as made:
        yield made


async def test_without_rabbitmq_no_service_serves_what_was_taken_back(house: tuple[World, Servers]) -> None:
    """A document is restricted, a grant, a member, a group, a session, a workspace taken back: none of it is told."""
    world, servers = house
    servers["rabbitmq"].kill()
    try:
        for kind, once in KINDS.items():
            lags = await once(world)
            print(kind, {service: f"{lag * 1000:.0f} ms" for service, lag in lags.items()})
            assert lags.keys() >= set(DECIDING)
            assert max(lags.values()) < 1.0, kind
            await asyncio.sleep(NEGATIVE_SECONDS)  # so long after a vain question nobody asks whether somebody is back
    finally:
        await asyncio.to_thread(servers["rabbitmq"].start)


async def test_without_redis_too_every_service_refuses_within_half_a_minute(house: tuple[World, Servers]) -> None:
    world, servers = house
    servers["rabbitmq"].kill()
    servers["redis"].kill()
    try:
        kinds = ("grant taken back", "left a group", "restricted")
        for kind, lags in zip(kinds, await asyncio.gather(*(KINDS[kind](world) for kind in kinds)), strict=True):
            print(kind, {service: f"{lag:.1f} s" for service, lag in lags.items()})
            assert lags.keys() >= set(DECIDING)
            assert max(lags.values()) < 30.0, kind
    finally:
        await asyncio.to_thread(servers["redis"].start)
        await asyncio.to_thread(servers["rabbitmq"].start)
