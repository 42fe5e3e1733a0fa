"""Private PostgreSQL, Redis and RabbitMQ for the test run, and the environment services read in it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from deploy.local import servers
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
