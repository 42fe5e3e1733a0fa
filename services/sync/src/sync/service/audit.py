"""Reading the log, and proving that nobody changed it."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from common import pagination
from common.access import AccessProjection, Action, allows
from common.auth import Principal
from common.database import Row

from .. import domain
from ..domain import Checked, Scope
from ..errors import EntryNotFoundError, RoleInsufficientError, RootNotFoundError, WorkspaceNotFoundError
from ..repository import LogReader

CHECKED_AT_ONCE = 2_000
CHECKED_PER_REQUEST = 100_000


class AuditService:
    """The log as one caller may read it."""

    def __init__(
        self, reader: LogReader, access: AccessProjection, principal: Principal, placements: Mapping[UUID, int]
    ) -> None:
        self._reader = reader
        self._access = access
        self._principal = principal
        self._placements = placements

    async def list_page(
        self,
        workspace_id: UUID | None,
        root_id: UUID | None,
        filters: dict[str, Any],
        cursor: str | None,
        limit: int,
    ) -> tuple[list[Row], str | None]:
        """Entries of a workspace or a root in it (owners and admins), or of the caller's own scope; newest first.

        What a document or folder is called is told only to who may read it now. Raises `WorkspaceNotFoundError`,
        `RootNotFoundError`, `RoleInsufficientError`, `CursorInvalidError`.
        """
        scope = await self._scope(workspace_id, root_id)
        before = pagination.decode(cursor, int)[0] if cursor else None
        rows, next_cursor = pagination.page(await self._reader.page(scope, filters, before, limit), limit, "seq")
        return await self._without_names(rows), next_cursor

    async def _without_names(self, rows: Sequence[Row]) -> list[Row]:
        """The rows, without the names of what the caller may not read, or of what was moved or restricted just now."""
        ids = {row["aggregate_id"] for row in rows if domain.named(row["type"])}
        readable = await self._reader.readable(list(ids)) if ids else {}
        announced = self._placements
        hidden = {id_ for id_ in ids if readable.get(id_, 0) < announced.get(id_, 1)}
        return [domain.nameless(row) if row["aggregate_id"] in hidden else row for row in rows]

    async def verify(self, workspace_id: UUID | None, root_id: UUID | None, after: int) -> tuple[Checked, bool]:
        """Recompute the hash chain behind entry `after`; how far it holds, and whether that is its end.

        The end must be the scope's head, which is kept apart: an end that was cut off is missed. Raises
        `EntryNotFoundError` if there is no entry `after`.
        """
        scope = await self._scope(workspace_id, root_id)
        head = await self._reader.head(scope)
        start = await self._reader.hash_at(scope, after) if after else domain.GENESIS
        if start is None:
            raise EntryNotFoundError
        checked = Checked(after, start, 0, None)
        while checked.broken_at is None and checked.seq - after < CHECKED_PER_REQUEST:
            rows = await self._reader.chain_from(scope, checked.seq, CHECKED_AT_ONCE)
            await self._reader.release()
            checked = domain.check(scope, checked, rows)
            if len(rows) < CHECKED_AT_ONCE and checked.broken_at is None:
                await self._scope(workspace_id, root_id)  # a role lost meanwhile hides entries, too
                return await self._against(head, scope, checked), True
        return checked, checked.broken_at is not None

    async def _against(self, head: Row | None, scope: Scope, checked: Checked) -> Checked:
        """The head was read before the entries: there are at least as many of them, and one has its hash."""
        if head and checked.seq < head["seq"]:
            return checked._replace(broken_at=checked.seq + 1)
        if head and head["seq"] and await self._reader.hash_at(scope, head["seq"]) != head["hash"]:
            return checked._replace(broken_at=head["seq"])
        return checked

    async def _scope(self, workspace_id: UUID | None, root_id: UUID | None) -> Scope:
        if workspace_id is None:
            return Scope("user", self._principal.user_id)
        role = await self._reader.role_in(workspace_id)
        if role is None:
            await self._reader.release()
            await self._access.learn(self._principal.user_id)
            role = await self._reader.role_in(workspace_id)
            if role is None:
                raise WorkspaceNotFoundError
        if not allows(role, Action.MANAGE):
            raise RoleInsufficientError
        if root_id and root_id != workspace_id and not await self._reader.is_root_in(workspace_id, root_id):
            raise RootNotFoundError
        return Scope("root", root_id or workspace_id)
