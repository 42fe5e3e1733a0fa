"""Private PostgreSQL, Redis and RabbitMQ for the test run, and the environment services read in it."""

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))

from deploy.local import servers
from deploy.provider.server import Running, running
from deploy.tests.environment import migrated

pytest_plugins = ["common.testing.plugin"]


@pytest.fixture(scope="session")
def backing() -> Iterator[servers.Servers]:
    """The servers; `backing["redis"].kill()` is what a test of a broken dependency needs."""
    with servers.start() as running:
        yield running


@pytest.fixture(scope="session")
def environment(backing: servers.Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Every variable of a fleet on free ports, set for the whole run; schemas migrated."""
    values = migrated(backing, tmp_path_factory.mktemp("state"))
    before = dict(os.environ)
    os.environ.update(values)
    yield values
    os.environ.clear()
    os.environ.update(before)


@pytest_asyncio.fixture(scope="session")
async def provider(environment: dict[str, str]) -> AsyncIterator[Running]:
    """The development provider, which the fleet's ai-proxy asks."""
    base_url = json.loads(environment["AI_PROXY_PROVIDERS"])["openai"]["base_url"]
    async with running(urlsplit(base_url).port or 0) as provider:
        yield provider
