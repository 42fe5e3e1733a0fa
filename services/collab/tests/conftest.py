"""Documents and clients."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))

from peers import Desk


@pytest_asyncio.fixture
async def desk(fleet) -> AsyncIterator[Desk]:
    """Opens documents for people."""
    async with Desk.opened(fleet) as desk:
        yield desk


@pytest_asyncio.fixture
async def ada(people):
    return await people.person("Ada")


@pytest_asyncio.fixture
async def workspace(people, ada):
    return await people.workspace(ada)
