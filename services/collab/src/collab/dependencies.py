"""Wiring: what this service holds beside the platform."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.platform import Platform


@asynccontextmanager
async def resources(_platform: Platform) -> AsyncIterator[None]:
    """Nothing of its own yet."""
    yield
