"""Statements about invitations."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from common.database import Row, Transaction, values

_INVITATION = (
    "SELECT id, workspace_id, email, role, invited_by, created_at, expires_at, accepted_at, revoked_at "
    "FROM auth_gateway.invitation WHERE workspace_id = %(workspace)s "
)


class InvitationRepository:
    """Invitations as the acting user may see them."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def find_open(self, workspace_id: UUID, email: str) -> Row | None:
        """The invitation this address could accept now."""
        return await self.transaction.one(
            "SELECT id FROM auth_gateway.invitation WHERE workspace_id = %(workspace)s AND email = %(email)s "
            "AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()",
            {"workspace": workspace_id, "email": email},
        )

    async def create(self, invitation: Mapping[str, Any], lifetime: timedelta) -> None:
        """Insert an invitation."""
        await self.transaction.execute(
            "INSERT INTO auth_gateway.invitation (id, workspace_id, email, role, token_hash, invited_by, expires_at) "
            "VALUES (%(id)s, %(workspace_id)s, %(email)s, %(role)s, %(token_hash)s, %(invited_by)s, "
            "now() + %(lifetime)s)",
            {**invitation, "lifetime": lifetime},
        )

    async def renew(self, invitation_id: UUID, token_hash: bytes, lifetime: timedelta) -> bool:
        """Give an invitation, open or expired, another secret and expiry; False if it was closed."""
        row = await self.transaction.one(
            "UPDATE auth_gateway.invitation SET token_hash = %(hash)s, expires_at = now() + %(lifetime)s "
            "WHERE id = %(id)s AND accepted_at IS NULL AND revoked_at IS NULL RETURNING id",
            {"id": invitation_id, "hash": token_hash, "lifetime": lifetime},
        )
        return row is not None

    async def find(self, workspace_id: UUID, invitation_id: UUID) -> Row | None:
        """One invitation of a workspace."""
        return await self.transaction.one(
            _INVITATION + "AND id = %(id)s", {"workspace": workspace_id, "id": invitation_id}
        )

    async def list_page(self, workspace_id: UUID, after: UUID | None, limit: int) -> list[Row]:
        """One invitation more than `limit`, newest first (their ids are time-ordered)."""
        return await self.transaction.all(
            _INVITATION + "AND (%(after)s::uuid IS NULL OR id < %(after)s) ORDER BY id DESC LIMIT %(limit)s",
            {"workspace": workspace_id, "after": after, "limit": limit + 1},
        )

    async def find_by_token(self, token_hash: bytes) -> Row | None:
        """The invitation behind a mailed secret, with the names to show; works without a user."""
        return await self.transaction.one(
            "SELECT * FROM auth_gateway.invitation_by_token(%(hash)s)", {"hash": token_hash}
        )

    async def lock(self, token_hash: bytes) -> None:
        """Serialise acceptances of an invitation: an advisory lock, since who is invited cannot see its row yet."""
        await self.transaction.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(encode(%(hash)s, 'hex'), 0))", {"hash": token_hash}
        )

    async def close(self, invitation_id: UUID, *, accepted_by: UUID | None) -> bool:
        """Mark as accepted by somebody, or as withdrawn; False if it was closed before."""
        row = await self.transaction.one(
            "UPDATE auth_gateway.invitation SET accepted_by = %(by)s, "
            "accepted_at = CASE WHEN %(by)s::uuid IS NULL THEN NULL ELSE now() END, "
            "revoked_at = CASE WHEN %(by)s::uuid IS NULL THEN now() END "
            "WHERE id = %(id)s AND accepted_at IS NULL AND revoked_at IS NULL RETURNING id",
            {"id": invitation_id, "by": accepted_by},
        )
        return row is not None

    async def revoke_by(self, workspace_id: UUID, user_id: UUID, kept: Sequence[str]) -> list[UUID]:
        """Withdraw somebody's open invitations as any role but `kept`; their ids."""
        rows = await self.transaction.all(
            "UPDATE auth_gateway.invitation SET revoked_at = now() WHERE workspace_id = %(workspace)s "
            "AND invited_by = %(user)s AND NOT role = ANY(%(kept)s::text[]) "
            "AND accepted_at IS NULL AND revoked_at IS NULL RETURNING id",
            {"workspace": workspace_id, "user": user_id, "kept": list(kept)},
        )
        return values(rows, "id")
