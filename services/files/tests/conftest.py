"""People and places for files."""

import sys
from pathlib import Path

import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))


@pytest_asyncio.fixture
async def ada(people):
    return await people.person("Ada")


@pytest_asyncio.fixture
async def workspace(people, ada):
    return await people.workspace(ada)
