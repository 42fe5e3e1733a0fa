"""People, places and the development provider for ai-proxy."""

import sys
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))


@pytest_asyncio.fixture
async def ada(people, provider):
    assert provider
    return await people.person("Ada")


@pytest_asyncio.fixture
async def workspace(people, ada):
    return await people.workspace(ada)


@pytest.fixture
def own(fleet):
    """What the service holds."""
    return fleet["ai-proxy"].app.state.resources


@pytest.fixture(autouse=True)
def fresh(request):
    """No test sees what another one set at the provider, or did to it."""
    if "provider" in request.fixturenames:
        running = request.getfixturevalue("provider")
        running.behaviours.clear()
        running.record.clear()
        request.getfixturevalue("own").exchanges.line._breakers.clear()


@pytest.fixture
def owner(environment):
    """The schema as its owner sees it."""
    with psycopg.connect(environment["AI_PROXY_OWNER_DATABASE_URL"], autocommit=True) as connection:
        yield connection
