"""Statements about who belongs to a workspace."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import errors as pg

from common import messaging
from common.auth import Principal
from common.database import Row, Transaction

SCHEMA = "auth_gateway"
LISTED = "m.user_id, a.email, a.display_name, m.role, m.suspended, m.joined_at"
_MEMBER = (
    f"SELECT {LISTED} FROM auth_gateway.member m JOIN auth_gateway.account a ON a.id = m.user_id "
    "WHERE m.workspace_id = %(workspace)s AND (m.suspended OR NOT m.removed) "
)
_FACT = "SELECT workspace_id, user_id, role, version, removed, suspended FROM auth_gateway.member "


class MemberRepository:
    """Memberships as the acting user may see them."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def record(
        self, event: messaging.Event, aggregate_id: UUID, version: int, principal: Principal | None
    ) -> None:
        """Write an event to the outbox."""
        await messaging.record(
            self.transaction, SCHEMA, event, aggregate_id=aggregate_id, aggregate_version=version, principal=principal
        )

    async def find(self, workspace_id: UUID, user_id: UUID) -> Row | None:
        """A membership as a fact, ended ones included."""
        return await self.transaction.one(
            _FACT + "WHERE workspace_id = %(workspace)s AND user_id = %(user)s",
            {"workspace": workspace_id, "user": user_id},
        )

    async def facts(self, user_id: UUID) -> list[Row]:
        """All memberships of the acting user as facts, ended ones included."""
        return await self.transaction.all(_FACT + "WHERE user_id = %(user)s", {"user": user_id})

    async def begin(self, workspace_id: UUID, user_id: UUID, role: str) -> int:
        """Insert a membership, or change a living or ended one; its new version.

        Raises `PermissionError` if row-level security refuses it, or if it is suspended.
        """
        try:
            row = await self.transaction.one(
                "INSERT INTO auth_gateway.member AS m (workspace_id, user_id, role, version, removed) "
                "VALUES (%(workspace)s, %(user)s, %(role)s, 1, false) "
                "ON CONFLICT (workspace_id, user_id) DO UPDATE SET role = excluded.role, removed = false, "
                "version = m.version + 1, updated_at = now(), "
                "joined_at = CASE WHEN m.removed THEN now() ELSE m.joined_at END "
                "WHERE NOT m.suspended RETURNING version",
                {"workspace": workspace_id, "user": user_id, "role": role},
            )
        except pg.InsufficientPrivilege as error:
            raise PermissionError(f"{user_id} may not become a member") from error
        if row is None:
            raise PermissionError(f"{user_id} is suspended")
        return int(row["version"])

    async def set_role(self, workspace_id: UUID, user_id: UUID, role: str) -> Row:
        """Give a living or suspended member another role; the changed fact."""
        return await self._change(workspace_id, user_id, "role = %(role)s", role=role)

    async def set_suspended(self, workspace_id: UUID, user_id: UUID, *, suspended: bool) -> Row:
        """Suspend or resume a membership; the changed fact."""
        changes = "suspended = %(suspended)s, removed = %(suspended)s"
        return await self._change(workspace_id, user_id, changes, suspended=suspended)

    async def end(self, workspace_id: UUID, user_id: UUID) -> Row:
        """End a living or suspended membership; the changed fact."""
        return await self._change(workspace_id, user_id, "removed = true, suspended = false")

    async def _change(self, workspace_id: UUID, user_id: UUID, changes: str, **params: Any) -> Row:
        row = await self.transaction.one(
            f"UPDATE auth_gateway.member SET {changes}, version = version + 1, updated_at = now() "
            "WHERE workspace_id = %(workspace)s AND user_id = %(user)s AND (suspended OR NOT removed) "
            "RETURNING workspace_id, user_id, role, version, removed, suspended",
            {"workspace": workspace_id, "user": user_id, **params},
        )
        if row is None:
            raise LookupError(f"no member {user_id}")
        return row

    async def count_owners(self, workspace_id: UUID) -> int:
        """Living owners."""
        row = await self.transaction.one(
            "SELECT count(*) AS owners FROM auth_gateway.member "
            "WHERE workspace_id = %(id)s AND role = 'owner' AND NOT removed",
            {"id": workspace_id},
        )
        return int(row["owners"]) if row else 0

    async def get(self, workspace_id: UUID, user_id: UUID) -> Row:
        """A living or suspended member, as the list shows it."""
        row = await self.transaction.one(
            _MEMBER + "AND m.user_id = %(user)s", {"workspace": workspace_id, "user": user_id}
        )
        if row is None:
            raise LookupError(f"no member {user_id}")
        return row

    async def list_page(self, workspace_id: UUID, after: Sequence[Any] | None, limit: int) -> list[Row]:
        """One living or suspended member more than `limit`, in the order they joined."""
        return await self.transaction.all(
            _MEMBER + "AND (%(first)s OR (m.joined_at, m.user_id) > (%(at)s::timestamptz, %(user)s::uuid)) "
            "ORDER BY m.joined_at, m.user_id LIMIT %(limit)s",
            {
                "workspace": workspace_id,
                "first": after is None,
                "at": after[0] if after else None,
                "user": after[1] if after else None,
                "limit": limit + 1,
            },
        )

    async def find_by_email(self, workspace_id: UUID, email: str) -> Row | None:
        """The living or suspended membership of whoever has this address."""
        return await self.transaction.one(
            _MEMBER + "AND a.email = %(email)s", {"workspace": workspace_id, "email": email}
        )
