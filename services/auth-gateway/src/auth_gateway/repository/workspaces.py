"""Statements about workspaces, members and invitations."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import errors as pg

from common import messaging
from common.auth import Principal
from common.database import Row, Transaction, values

SCHEMA = "auth_gateway"
_WORKSPACE = (
    "SELECT w.id, w.name, w.version, w.created_at, w.updated_at, m.role FROM auth_gateway.workspace w "
    "JOIN auth_gateway.member m ON m.workspace_id = w.id AND m.user_id = %(user)s AND NOT m.removed "
)
_MEMBER = (
    "SELECT m.user_id, a.email, a.display_name, m.role, m.joined_at FROM auth_gateway.member m "
    "JOIN auth_gateway.account a ON a.id = m.user_id WHERE m.workspace_id = %(workspace)s AND NOT m.removed "
)
_INVITATION = (
    "SELECT id, workspace_id, email, role, invited_by, created_at, expires_at, accepted_at, revoked_at "
    "FROM auth_gateway.invitation WHERE workspace_id = %(workspace)s "
)


class WorkspaceRepository:
    """Workspaces, memberships and invitations as the acting user may see them."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def record(self, event: messaging.Event, aggregate_id: UUID, version: int, principal: Principal) -> None:
        """Write an event to the outbox."""
        await messaging.record(
            self.transaction, SCHEMA, event, aggregate_id=aggregate_id, aggregate_version=version, principal=principal
        )

    async def create(self, workspace_id: UUID, name: str, creator: UUID) -> None:
        """Insert a workspace at version 1."""
        await self.transaction.execute(
            "INSERT INTO auth_gateway.workspace (id, name, version, created_by) VALUES (%(id)s, %(name)s, 1, %(user)s)",
            {"id": workspace_id, "name": name, "user": creator},
        )

    async def find(self, workspace_id: UUID, user_id: UUID) -> Row | None:
        """A workspace with the user's role in it."""
        return await self.transaction.one(_WORKSPACE + "WHERE w.id = %(id)s", {"id": workspace_id, "user": user_id})

    async def list_of(self, user_id: UUID, after: Sequence[Any] | None, limit: int) -> list[Row]:
        """One workspace more than `limit`, by name."""
        return await self.transaction.all(
            _WORKSPACE
            + "WHERE %(first)s OR (w.name, w.id) > (%(name)s, %(id)s::uuid) ORDER BY w.name, w.id LIMIT %(limit)s",
            {
                "user": user_id,
                "first": after is None,
                "name": after[0] if after else None,
                "id": after[1] if after else None,
                "limit": limit + 1,
            },
        )

    async def rename(self, workspace_id: UUID, name: str) -> Row | None:
        """Rename; None if it is the name already."""
        return await self.transaction.one(
            "UPDATE auth_gateway.workspace SET name = %(name)s, version = version + 1, updated_at = now() "
            "WHERE id = %(id)s AND name <> %(name)s RETURNING version",
            {"id": workspace_id, "name": name},
        )

    async def lock(self, workspace_id: UUID) -> None:
        """Serialise changes of a workspace and its members, so that two owners cannot both leave."""
        await self.transaction.execute(
            "SELECT 1 FROM auth_gateway.workspace WHERE id = %(id)s FOR UPDATE", {"id": workspace_id}
        )

    async def find_member(self, workspace_id: UUID, user_id: UUID) -> Row | None:
        """A membership, ended ones included."""
        return await self.transaction.one(
            "SELECT workspace_id, user_id, role, version, removed FROM auth_gateway.member "
            "WHERE workspace_id = %(workspace)s AND user_id = %(user)s",
            {"workspace": workspace_id, "user": user_id},
        )

    async def memberships_of(self, user_id: UUID) -> list[Row]:
        """All memberships of the acting user as facts, ended ones included."""
        return await self.transaction.all(
            "SELECT workspace_id, user_id, role, version, removed FROM auth_gateway.member WHERE user_id = %(user)s",
            {"user": user_id},
        )

    async def workspaces_of(self, user_id: UUID) -> list[Row]:
        """The acting user's workspaces as facts."""
        return await self.transaction.all(
            "SELECT w.id AS workspace_id, w.name, w.version, false AS removed FROM auth_gateway.workspace w "
            "JOIN auth_gateway.member m ON m.workspace_id = w.id WHERE m.user_id = %(user)s",
            {"user": user_id},
        )

    async def set_member(self, workspace_id: UUID, user_id: UUID, role: str, *, removed: bool) -> int:
        """Insert or change a membership; its new version. Raises `PermissionError` if row-level security refuses it."""
        try:
            row = await self.transaction.one(
                "INSERT INTO auth_gateway.member AS m (workspace_id, user_id, role, version, removed) "
                "VALUES (%(workspace)s, %(user)s, %(role)s, 1, %(removed)s) "
                "ON CONFLICT (workspace_id, user_id) DO UPDATE SET role = excluded.role, removed = excluded.removed, "
                "version = m.version + 1, updated_at = now(), "
                "joined_at = CASE WHEN m.removed THEN now() ELSE m.joined_at END RETURNING version",
                {"workspace": workspace_id, "user": user_id, "role": role, "removed": removed},
            )
        except pg.InsufficientPrivilege as error:
            raise PermissionError(f"{user_id} may not become a member") from error
        if row is None:
            raise LookupError(f"membership of {user_id} was not written")
        return int(row["version"])

    async def count_owners(self, workspace_id: UUID) -> int:
        """Living owners."""
        row = await self.transaction.one(
            "SELECT count(*) AS owners FROM auth_gateway.member "
            "WHERE workspace_id = %(id)s AND role = 'owner' AND NOT removed",
            {"id": workspace_id},
        )
        return int(row["owners"]) if row else 0

    async def get_member(self, workspace_id: UUID, user_id: UUID) -> Row:
        """A living member, as the list shows it."""
        row = await self.transaction.one(
            _MEMBER + "AND m.user_id = %(user)s", {"workspace": workspace_id, "user": user_id}
        )
        if row is None:
            raise LookupError(f"no member {user_id}")
        return row

    async def list_members(self, workspace_id: UUID, after: Sequence[Any] | None, limit: int) -> list[Row]:
        """One member more than `limit`, in the order they joined."""
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

    async def find_member_by_email(self, workspace_id: UUID, email: str) -> Row | None:
        """The living membership of whoever has this address."""
        return await self.transaction.one(
            "SELECT m.user_id FROM auth_gateway.member m JOIN auth_gateway.account a ON a.id = m.user_id "
            "WHERE m.workspace_id = %(workspace)s AND a.email = %(email)s AND NOT m.removed",
            {"workspace": workspace_id, "email": email},
        )

    async def find_open_invitation(self, workspace_id: UUID, email: str) -> Row | None:
        """The invitation this address could accept now."""
        return await self.transaction.one(
            "SELECT id FROM auth_gateway.invitation WHERE workspace_id = %(workspace)s AND email = %(email)s "
            "AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()",
            {"workspace": workspace_id, "email": email},
        )

    async def create_invitation(self, invitation: dict[str, Any], lifetime: timedelta) -> None:
        """Insert an invitation."""
        await self.transaction.execute(
            "INSERT INTO auth_gateway.invitation (id, workspace_id, email, role, token_hash, invited_by, expires_at) "
            "VALUES (%(id)s, %(workspace_id)s, %(email)s, %(role)s, %(token_hash)s, %(invited_by)s, "
            "now() + %(lifetime)s)",
            {**invitation, "lifetime": lifetime},
        )

    async def find_invitation(self, workspace_id: UUID, invitation_id: UUID) -> Row | None:
        """One invitation of a workspace."""
        return await self.transaction.one(
            _INVITATION + "AND id = %(id)s", {"workspace": workspace_id, "id": invitation_id}
        )

    async def list_invitations(self, workspace_id: UUID, after: UUID | None, limit: int) -> list[Row]:
        """One invitation more than `limit`, newest first (their ids are time-ordered)."""
        return await self.transaction.all(
            _INVITATION + "AND (%(after)s::uuid IS NULL OR id < %(after)s) ORDER BY id DESC LIMIT %(limit)s",
            {"workspace": workspace_id, "after": after, "limit": limit + 1},
        )

    async def find_invitation_by_token(self, token_hash: bytes) -> Row | None:
        """The invitation behind a mailed secret, with the names to show; works without a user."""
        return await self.transaction.one(
            "SELECT * FROM auth_gateway.invitation_by_token(%(hash)s)", {"hash": token_hash}
        )

    async def lock_invitation(self, token_hash: bytes) -> None:
        """Serialise acceptances of an invitation: an advisory lock, since who is invited cannot see its row yet."""
        await self.transaction.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(encode(%(hash)s, 'hex'), 0))", {"hash": token_hash}
        )

    async def close_invitation(self, invitation_id: UUID, *, accepted_by: UUID | None) -> bool:
        """Mark as accepted by somebody, or as withdrawn; False if it was closed before."""
        row = await self.transaction.one(
            "UPDATE auth_gateway.invitation SET accepted_by = %(by)s, "
            "accepted_at = CASE WHEN %(by)s::uuid IS NULL THEN NULL ELSE now() END, "
            "revoked_at = CASE WHEN %(by)s::uuid IS NULL THEN now() END "
            "WHERE id = %(id)s AND accepted_at IS NULL AND revoked_at IS NULL RETURNING id",
            {"id": invitation_id, "by": accepted_by},
        )
        return row is not None

    async def revoke_invitations_by(self, workspace_id: UUID, user_id: UUID, kept: Sequence[str]) -> list[UUID]:
        """Withdraw somebody's open invitations as any role but `kept`; their ids."""
        rows = await self.transaction.all(
            "UPDATE auth_gateway.invitation SET revoked_at = now() WHERE workspace_id = %(workspace)s "
            "AND invited_by = %(user)s AND NOT role = ANY(%(kept)s::text[]) "
            "AND accepted_at IS NULL AND revoked_at IS NULL RETURNING id",
            {"workspace": workspace_id, "user": user_id, "kept": list(kept)},
        )
        return values(rows, "id")
