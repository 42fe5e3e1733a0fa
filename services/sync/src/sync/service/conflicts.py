"""Conflicts: texts that could not be merged, kept as documents of their own until somebody settles it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from common import pagination
from common.auth import Principal
from common.database import Row
from common.identifiers import uuid7

from ..errors import ConflictNotFoundError, ResolutionRefusedError
from ..repository import FeedRepository
from .push import PushService


class ConflictService:
    """Conflicts the caller may see."""

    def __init__(self, feed: FeedRepository, push: PushService, principal: Principal) -> None:
        self._feed = feed
        self._push = push
        self._principal = principal

    async def list_page(self, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """Open ones, oldest first. Raises `CursorInvalidError`."""
        after = pagination.decode(cursor, UUID)[0] if cursor else None
        return pagination.page(await self._feed.conflicts(after, limit), limit, "copy_id")

    async def resolve(self, copy_id: UUID, choice: str, seen: Mapping[str, int | None], content: str | None) -> Row:
        """Settle one: its document gets the copy's text (`mine`), none (`theirs`) or `content` (`text`).

        `seen`: `base_version` of the document, `copy_version` if the copy may have been edited meanwhile. Saying the
        same again changes nothing. Raises `ConflictNotFoundError`, `ResolutionRefusedError` with what
        documents says, `PeerUnavailableError`.
        """
        found = await self._feed.conflict(copy_id)
        if found is None:
            raise ConflictNotFoundError
        await self._feed.release()
        operation: dict[str, Any] = {
            "op_id": str(uuid7()), "n": 1, "entity": "document", "type": "resolve", "id": str(found["document_id"]),
            "copy_id": str(copy_id), "choice": choice,
        }  # fmt: skip
        operation |= {name: version for name, version in seen.items() if version is not None}
        operation |= {"content": content} if content is not None else {}
        result = await self._push.resolve(operation)
        if result["status"] not in ("applied", "noop"):
            raise ResolutionRefusedError(result.get("detail"), reason=result.get("code"))
        await self._feed.settle(copy_id, choice)
        return result
