"""People and places for files."""

import os
import sys
from pathlib import Path

import pytest
import pytest_asyncio
from deploy.local.machine import free_ports
from deploy.local.servers import Running
from deploy.local.stand_in import BUCKET, CREDENTIALS, REGION, StandIn

sys.path.insert(0, str(Path(__file__).parent))

from common.objects import open_store


@pytest_asyncio.fixture
async def ada(people):
    return await people.person("Ada")


@pytest_asyncio.fixture
async def workspace(people, ada):
    return await people.workspace(ada)


@pytest.fixture
def own(fleet):
    """Platform and resources of the running service."""
    return fleet["files"].app.state


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """What plays S3."""
    server = Running(StandIn(tmp_path_factory.mktemp("s3"), free_ports(1)[0]))
    server.server.prepare()
    server.start()
    before = dict(os.environ)
    os.environ.update(CREDENTIALS)
    yield server
    os.environ.clear()
    os.environ.update(before)
    server.stop()


@pytest_asyncio.fixture(params=["folder", "s3"])
async def store(request, tmp_path):
    """An empty store, of each kind."""
    if request.param == "folder":
        where = {"folder": tmp_path, "url_keys": [b"k" * 32], "signed_base_url": "http://test"}
    else:
        where = {"bucket": BUCKET, "region": REGION, "endpoint_url": request.getfixturevalue("s3").url}
    async with open_store(request.param, **where) as opened:
        yield opened
