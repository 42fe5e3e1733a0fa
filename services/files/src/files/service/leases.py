"""Work that is nobody else's while whoever does it lives: a short lease, renewed until the work is done."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from common.errors import ServiceError

log = logging.getLogger(__name__)

LEASE_SECONDS: Final = 6
"""After which somebody else takes over what a killed process did."""
RENEWED_SECONDS: Final = 2


@asynccontextmanager
async def renewed(renew: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Call `renew` every `RENEWED_SECONDS` until the block ends. Whoever loses the lease notices when it is done."""
    renewing = asyncio.create_task(_go_on(renew))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
        if not renewing.cancelled():
            renewing.result()


async def _go_on(renew: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(RENEWED_SECONDS)
        try:
            await renew()
        except ServiceError as error:
            log.info("a lease was not renewed", extra={"fields": {"cause": str(error)}})
