"""Fixtures over one fleet per test run: `fleet`, `people`; `environment` comes from the repository's conftest."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest_asyncio

from common.database import Database

from .fleet import Fleet
from .people import People


@pytest_asyncio.fixture(scope="session")
async def fleet(environment: dict[str, str]) -> AsyncIterator[Fleet]:
    """All six services, running."""
    assert environment
    async with Fleet.running("auth-gateway", "documents", "sync", "collab", "files", "ai-proxy") as running:
        yield running


@pytest_asyncio.fixture
async def open_database(environment: dict[str, str]) -> AsyncIterator[Callable[[str], Awaitable[Database]]]:
    """Opens the database an environment variable names, until the test ends."""
    async with AsyncExitStack() as stack:

        async def opened(variable: str) -> Database:
            database = Database(environment[variable], max_size=4, timeout=5)
            await database.open()
            stack.push_async_callback(database.close)
            return database

        yield opened


@pytest_asyncio.fixture(scope="session")
async def people(fleet: Fleet, environment: dict[str, str]) -> AsyncIterator[People]:
    """Maker of users, workspaces and documents."""
    made = People(fleet, environment["AUTH_GATEWAY_OWNER_DATABASE_URL"])
    yield made
    await made.close()
