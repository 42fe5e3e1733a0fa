"""Statements about workspaces."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from common.database import Row, Transaction

_SETTINGS = ("name", "allowed_domains", "trash_days", "mfa_required", "ai_models")
_WORKSPACE = (
    f"SELECT w.id, {', '.join(f'w.{name}' for name in _SETTINGS)}, w.version, w.created_at, w.updated_at, "
    "w.deleted_at, m.role FROM auth_gateway.workspace w "
    "JOIN auth_gateway.member m ON m.workspace_id = w.id AND m.user_id = %(user)s AND NOT m.removed "
)
_LIVING = "w.deleted_at IS NULL"
_RESTORABLE = "w.deleted_at > now() - %(grace)s AND m.role = 'owner'"


class WorkspaceRepository:
    """Workspaces as the acting user may see them."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def create(self, workspace_id: UUID, name: str, creator: UUID) -> None:
        """Insert a workspace at version 1."""
        await self.transaction.execute(
            "INSERT INTO auth_gateway.workspace (id, name, version, created_by) VALUES (%(id)s, %(name)s, 1, %(user)s)",
            {"id": workspace_id, "name": name, "user": creator},
        )

    async def find(self, workspace_id: UUID, user_id: UUID) -> Row | None:
        """A living workspace with the user's role in it."""
        return await self.transaction.one(
            f"{_WORKSPACE} WHERE w.id = %(id)s AND {_LIVING}", {"id": workspace_id, "user": user_id}
        )

    async def find_deleted(self, workspace_id: UUID, user_id: UUID, grace: timedelta) -> Row | None:
        """A deleted workspace this owner can still restore."""
        return await self.transaction.one(
            f"{_WORKSPACE} WHERE w.id = %(id)s AND {_RESTORABLE}",
            {"id": workspace_id, "user": user_id, "grace": grace},
        )

    async def list_of(self, user_id: UUID, after: Sequence[Any] | None, limit: int) -> list[Row]:
        """One living workspace more than `limit`, by name."""
        return await self._page(_LIVING, {"user": user_id}, after, limit)

    async def list_deleted(self, user_id: UUID, grace: timedelta, after: Sequence[Any] | None, limit: int) -> list[Row]:
        """One workspace this owner can still restore more than `limit`, by name."""
        return await self._page(_RESTORABLE, {"user": user_id, "grace": grace}, after, limit)

    async def _page(self, which: str, params: Mapping[str, Any], after: Sequence[Any] | None, limit: int) -> list[Row]:
        return await self.transaction.all(
            f"{_WORKSPACE} WHERE {which} AND (%(first)s OR (w.name, w.id) > (%(name)s, %(id)s::uuid)) "
            "ORDER BY w.name, w.id LIMIT %(limit)s",
            {
                **params,
                "first": after is None,
                "name": after[0] if after else None,
                "id": after[1] if after else None,
                "limit": limit + 1,
            },
        )

    async def list_joinable(self) -> list[Row]:
        """Where the domain of the acting user's address is allowed, with whether the address is proven."""
        return await self.transaction.all(
            "SELECT id, name, verified FROM auth_gateway.joinable() ORDER BY name, id LIMIT 200"
        )

    async def find_joinable(self, workspace_id: UUID) -> Row | None:
        """A workspace that allows the domain of the acting user's address, with whether the address is proven."""
        return await self.transaction.one(
            "SELECT id, verified FROM auth_gateway.joinable() WHERE id = %(id)s", {"id": workspace_id}
        )

    async def update(self, workspace_id: UUID, values: Mapping[str, Any]) -> int:
        """Change name and settings to `values`; the new version."""
        changes = ", ".join(f"{name} = %({name})s" for name in _SETTINGS if name in values)
        return await self._change(workspace_id, changes, values)

    async def delete(self, workspace_id: UUID) -> int:
        """Note that it is deleted; the new version."""
        return await self._change(workspace_id, "deleted_at = now()", {})

    async def restore(self, workspace_id: UUID) -> int:
        """Note that it is not deleted any more; the new version."""
        return await self._change(workspace_id, "deleted_at = NULL", {})

    async def _change(self, workspace_id: UUID, changes: str, params: Mapping[str, Any]) -> int:
        row = await self.transaction.one(
            f"UPDATE auth_gateway.workspace SET {changes}, version = version + 1, updated_at = now() "
            "WHERE id = %(id)s RETURNING version",
            {**params, "id": workspace_id},
        )
        if row is None:
            raise LookupError(f"no workspace {workspace_id}")
        return int(row["version"])

    async def lock(self, workspace_id: UUID) -> None:
        """Serialise changes of a workspace, its members and groups, so that two owners cannot both leave."""
        await self.transaction.execute(
            "SELECT 1 FROM auth_gateway.workspace WHERE id = %(id)s FOR UPDATE", {"id": workspace_id}
        )

    async def facts(self) -> list[Row]:
        """Workspaces the acting user is a member of as facts, deleted ones included, of which no settings are seen."""
        return await self.transaction.all(
            "SELECT f.workspace_id, f.name, f.version, f.removed, w.ai_models FROM auth_gateway.my_workspace_facts() f "
            "LEFT JOIN auth_gateway.workspace w ON w.id = f.workspace_id"
        )
