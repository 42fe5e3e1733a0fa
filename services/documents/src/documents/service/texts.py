"""Small texts by the hundred, for devices that catch up."""

import asyncio
import logging
from collections.abc import Sequence
from uuid import UUID

from common.database import Row
from common.errors import UnavailableError

from ..repository import OperationRepository
from ..storage import BodyStore
from .operations import INLINE_BYTES

log = logging.getLogger(__name__)

PARALLEL = 8


class TextService:
    """Exact texts of content versions, as one user may read them now."""

    def __init__(self, operations: OperationRepository, bodies: BodyStore) -> None:
        self._operations = operations
        self._bodies = bodies
        self._free = asyncio.Semaphore(PARALLEL)

    async def read(self, items: Sequence[tuple[UUID, int]]) -> dict[str, str]:
        """`<document>:<version>` -> text; what is large, unknown, unreadable or away is left out."""
        rows = await self._operations.texts(items, INLINE_BYTES)
        texts = await asyncio.gather(*map(self._text, rows))
        return {
            f"{row['document_id']}:{row['n']}": text for row, text in zip(rows, texts, strict=True) if text is not None
        }

    async def _text(self, row: Row) -> str | None:
        if row["data"] is not None:
            return (await self._bodies.read(row)).decode()
        async with self._free:
            try:
                return (await self._bodies.read(row)).decode()
            except UnavailableError as error:
                log.info("a text was left out", extra={"fields": {"cause": error.code}})
                return None
