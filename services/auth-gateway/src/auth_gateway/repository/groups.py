"""Statements about groups and who is in them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import errors as pg

from common.database import Row, Transaction, values

from ..errors import GroupExistsError
from .members import LISTED

_GROUP = (
    "SELECT id, workspace_id, name, version, created_at, updated_at FROM auth_gateway.user_group "
    "WHERE workspace_id = %(workspace)s AND NOT removed "
)


class GroupRepository:
    """Groups as the acting user may see them."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def create(self, group_id: UUID, workspace_id: UUID, name: str) -> None:
        """Insert a group at version 1. Raises `GroupExistsError`."""
        try:
            await self.transaction.execute(
                "INSERT INTO auth_gateway.user_group (id, workspace_id, name, version) "
                "VALUES (%(id)s, %(workspace)s, %(name)s, 1)",
                {"id": group_id, "workspace": workspace_id, "name": name},
            )
        except pg.UniqueViolation as error:
            raise GroupExistsError from error

    async def find(self, workspace_id: UUID, group_id: UUID) -> Row | None:
        """One living group of a workspace."""
        return await self.transaction.one(_GROUP + "AND id = %(id)s", {"workspace": workspace_id, "id": group_id})

    async def list_page(self, workspace_id: UUID, after: Sequence[Any] | None, limit: int) -> list[Row]:
        """One group more than `limit`, by name."""
        return await self.transaction.all(
            _GROUP + "AND (%(first)s OR (name, id) > (%(name)s, %(id)s::uuid)) ORDER BY name, id LIMIT %(limit)s",
            {
                "workspace": workspace_id,
                "first": after is None,
                "name": after[0] if after else None,
                "id": after[1] if after else None,
                "limit": limit + 1,
            },
        )

    async def rename(self, group_id: UUID, name: str) -> int:
        """Change the name; the new version. Raises `GroupExistsError`."""
        try:
            return await self._change(group_id, "name = %(name)s, version = version + 1", name=name)
        except pg.UniqueViolation as error:
            raise GroupExistsError from error

    async def delete(self, group_id: UUID) -> int:
        """Leave a tombstone; its version."""
        return await self._change(group_id, "removed = true, version = version + 1")

    async def set_version(self, group_id: UUID, version: int) -> None:
        """Note the version of the last change of members."""
        await self._change(group_id, "version = %(version)s", version=version)

    async def _change(self, group_id: UUID, changes: str, **params: Any) -> int:
        row = await self.transaction.one(
            f"UPDATE auth_gateway.user_group SET {changes}, updated_at = now() WHERE id = %(id)s RETURNING version",
            {"id": group_id, **params},
        )
        if row is None:
            raise LookupError(f"no group {group_id}")
        return int(row["version"])

    async def list_members(self, workspace_id: UUID, group_id: UUID, after: UUID | None, limit: int) -> list[Row]:
        """One member of a group more than `limit`, suspended ones included, by id."""
        return await self.transaction.all(
            f"SELECT {LISTED} FROM auth_gateway.group_member g "
            "JOIN auth_gateway.member m ON m.workspace_id = g.workspace_id AND m.user_id = g.user_id "
            "JOIN auth_gateway.account a ON a.id = g.user_id "
            "WHERE g.group_id = %(group)s AND g.workspace_id = %(workspace)s AND NOT g.removed "
            "AND (%(after)s::uuid IS NULL OR g.user_id > %(after)s) ORDER BY g.user_id LIMIT %(limit)s",
            {"workspace": workspace_id, "group": group_id, "after": after, "limit": limit + 1},
        )

    async def members_of(self, group_id: UUID) -> list[UUID]:
        """Who is in the group."""
        rows = await self.transaction.all(
            "SELECT user_id FROM auth_gateway.group_member WHERE group_id = %(group)s AND NOT removed ORDER BY user_id",
            {"group": group_id},
        )
        return values(rows, "user_id")

    async def among_members(self, group_id: UUID, users: Sequence[UUID]) -> list[UUID]:
        """Which of these are in the group."""
        rows = await self.transaction.all(
            "SELECT user_id FROM auth_gateway.group_member WHERE group_id = %(group)s AND NOT removed "
            "AND user_id = ANY(%(users)s::uuid[])",
            {"group": group_id, "users": list(users)},
        )
        return values(rows, "user_id")

    async def strangers(self, workspace_id: UUID, users: Sequence[UUID], limit: int) -> list[UUID]:
        """Which of these, up to `limit`, are no living members or guests of the workspace, in the order given."""
        rows = await self.transaction.all(
            "SELECT told.user_id FROM unnest(%(users)s::uuid[]) WITH ORDINALITY AS told (user_id, place) "
            "WHERE NOT EXISTS (SELECT 1 FROM auth_gateway.member m WHERE m.workspace_id = %(workspace)s "
            "AND m.user_id = told.user_id AND NOT m.removed) ORDER BY place LIMIT %(limit)s",
            {"workspace": workspace_id, "users": list(users), "limit": limit},
        )
        return values(rows, "user_id")

    async def set_members(self, group: Row, users: Sequence[UUID], *, joining: int, told_at_once: int) -> None:
        """Write that the first `joining` of `users` are in a group and the others are not.

        The group's versions after its current one are theirs, in turn, each for `told_at_once` of them.
        """
        await self.transaction.execute(
            "INSERT INTO auth_gateway.group_member (group_id, workspace_id, user_id, removed, version) "
            "SELECT %(group)s, %(workspace)s, told.user_id, place > %(joining)s, "
            "%(version)s + 1 + (place - 1) / %(told_at_once)s "
            "FROM unnest(%(users)s::uuid[]) WITH ORDINALITY AS told (user_id, place) "
            "ON CONFLICT (group_id, user_id) DO UPDATE SET removed = excluded.removed, version = excluded.version",
            {
                "group": group["id"],
                "workspace": group["workspace_id"],
                "version": group["version"],
                "users": list(users),
                "joining": joining,
                "told_at_once": told_at_once,
            },
        )

    async def groups_with(self, workspace_id: UUID, user_id: UUID) -> list[Row]:
        """Groups of a workspace somebody is in."""
        return await self.transaction.all(
            _GROUP + "AND id IN (SELECT g.group_id FROM auth_gateway.group_member g "
            "WHERE g.workspace_id = %(workspace)s AND g.user_id = %(user)s AND NOT g.removed) ORDER BY id",
            {"workspace": workspace_id, "user": user_id},
        )

    async def facts(self, user_id: UUID) -> list[Row]:
        """Groups the acting user is or was in, as facts."""
        return await self.transaction.all(
            "SELECT user_id, group_id, workspace_id, removed, version FROM auth_gateway.group_member "
            "WHERE user_id = %(user)s",
            {"user": user_id},
        )
