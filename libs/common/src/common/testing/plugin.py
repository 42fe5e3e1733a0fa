"""Fixtures over one fleet per test run: `fleet`, `people`; `environment` comes from the repository's conftest."""

from collections.abc import AsyncIterator

import pytest_asyncio

from .fleet import Fleet
from .people import People


@pytest_asyncio.fixture(scope="session")
async def fleet(environment: dict[str, str]) -> AsyncIterator[Fleet]:
    """auth-gateway, documents and sync, running."""
    assert environment
    async with Fleet.running("auth-gateway", "documents", "sync") as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def people(fleet: Fleet, environment: dict[str, str]) -> AsyncIterator[People]:
    """Maker of users, workspaces and documents."""
    made = People(fleet, environment["AUTH_GATEWAY_OWNER_DATABASE_URL"])
    yield made
    await made.close()
