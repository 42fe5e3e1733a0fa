"""Statements about people, their sessions and what was revoked."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import errors as pg

from common import messaging
from common.auth import Principal
from common.database import Row, Transaction

from ..errors import EmailTakenError

SCHEMA = "auth_gateway"
REPLACED_KEPT = 16


class AccountRepository:
    """Accounts, sessions, verification links and revocations."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def act_as(self, user_id: UUID) -> None:
        """See the rest of the transaction through this user's rights."""
        await self.transaction.act_as(user_id)

    async def record(
        self, event: messaging.Event, aggregate_id: UUID, version: int, principal: Principal | None
    ) -> None:
        """Write an event to the outbox."""
        await messaging.record(
            self.transaction, SCHEMA, event, aggregate_id=aggregate_id, aggregate_version=version, principal=principal
        )

    async def create(self, user_id: UUID, email: str, display_name: str, password_hash: str, *, verified: bool) -> Row:
        """Insert an account. Raises `EmailTakenError`."""
        try:
            await self.transaction.execute(
                "INSERT INTO auth_gateway.account (id, email, display_name, password_hash, email_verified_at, version) "
                "VALUES (%(id)s, %(email)s, %(name)s, %(hash)s, CASE WHEN %(verified)s THEN now() END, 1)",
                {"id": user_id, "email": email, "name": display_name, "hash": password_hash, "verified": verified},
            )
        except pg.UniqueViolation as error:
            raise EmailTakenError from error
        return await self.get(user_id)

    async def get(self, user_id: UUID) -> Row:
        """The account of the user this transaction acts as."""
        row = await self.find(user_id)
        if row is None:
            raise LookupError(f"no account {user_id}")
        return row

    async def find(self, user_id: UUID) -> Row | None:
        """An account the acting user may see."""
        return await self.transaction.one(
            "SELECT id, email, display_name, email_verified_at, version, created_at FROM auth_gateway.account "
            "WHERE id = %(id)s",
            {"id": user_id},
        )

    async def find_credentials(self, email: str) -> Row | None:
        """Id and password hash by address."""
        return await self.transaction.one("SELECT * FROM auth_gateway.credentials(%(email)s)", {"email": email})

    async def set_display_name(self, user_id: UUID, display_name: str) -> Row | None:
        """Rename; None if it is the name already."""
        return await self.transaction.one(
            "UPDATE auth_gateway.account SET display_name = %(name)s, version = version + 1 "
            "WHERE id = %(id)s AND display_name <> %(name)s RETURNING version",
            {"id": user_id, "name": display_name},
        )

    async def verify_email(self, user_id: UUID, email: str) -> Row | None:
        """Note that the address was proven, if it is still the account's; None if there was nothing to note."""
        return await self.transaction.one(
            "UPDATE auth_gateway.account SET email_verified_at = now(), version = version + 1 "
            "WHERE id = %(id)s AND email = %(email)s AND email_verified_at IS NULL RETURNING display_name, version",
            {"id": user_id, "email": email},
        )

    async def create_email_token(self, token_hash: bytes, user_id: UUID, email: str, lifetime: timedelta) -> None:
        """Keep the hash of a verification link."""
        await self.transaction.execute(
            "INSERT INTO auth_gateway.email_token (token_hash, user_id, email, expires_at) "
            "VALUES (%(hash)s, %(user)s, %(email)s, now() + %(lifetime)s)",
            {"hash": token_hash, "user": user_id, "email": email, "lifetime": lifetime},
        )

    async def find_email_token_user(self, token_hash: bytes) -> UUID | None:
        """Whom a verification link belongs to."""
        row = await self.transaction.one(
            "SELECT auth_gateway.email_token_user(%(hash)s) AS user_id", {"hash": token_hash}
        )
        return row["user_id"] if row else None

    async def take_email_token(self, token_hash: bytes) -> str | None:
        """Use a verification link up; the address it proves, None if it has expired or was used."""
        row = await self.transaction.one(
            "DELETE FROM auth_gateway.email_token WHERE token_hash = %(hash)s "
            "RETURNING email, expires_at > now() AS live",
            {"hash": token_hash},
        )
        return row["email"] if row and row["live"] else None

    async def create_session(self, session: Mapping[str, Any], lifetime: timedelta) -> None:
        """Insert a session at generation 1."""
        await self.transaction.execute(
            "INSERT INTO auth_gateway.session (id, user_id, device_id, device_name, client_ip, amr, generation, "
            "refresh_hash, expires_at) VALUES (%(id)s, %(user_id)s, %(device_id)s, %(device_name)s, %(client_ip)s, "
            "%(amr)s, 1, %(refresh_hash)s, now() + %(lifetime)s)",
            {**session, "lifetime": lifetime},
        )

    async def find_session_user(self, session_id: UUID) -> UUID | None:
        """Whose session it is."""
        row = await self.transaction.one("SELECT auth_gateway.session_user(%(id)s) AS user_id", {"id": session_id})
        return row["user_id"] if row else None

    async def rotate(
        self, session_id: UUID, *, generation: int, old_hash: bytes, new_hash: bytes, lifetime: timedelta
    ) -> Row | None:
        """Move a living session from `generation` to the next; None if it is not there any more."""
        return await self.transaction.one(
            "UPDATE auth_gateway.session SET generation = generation + 1, refresh_hash = %(new)s, "
            f"replaced_at = (now() || replaced_at)[:{REPLACED_KEPT}], "
            "last_used_at = now(), expires_at = now() + %(lifetime)s "
            "WHERE id = %(id)s AND generation = %(generation)s AND refresh_hash = %(old)s AND ended_at IS NULL "
            "AND expires_at > now() RETURNING user_id, amr",
            {"id": session_id, "generation": generation, "old": old_hash, "new": new_hash, "lifetime": lifetime},
        )

    async def find_session(self, session_id: UUID, generation: int) -> Row | None:
        """State of one session, with the seconds since `generation` was replaced: None if current or long ago."""
        return await self.transaction.one(
            "SELECT user_id, amr, generation, ended_at, expires_at > now() AS live, "
            "extract(epoch FROM now() - replaced_at[generation - %(generation)s]) AS replaced_ago "
            "FROM auth_gateway.session WHERE id = %(id)s",
            {"id": session_id, "generation": generation},
        )

    async def list_sessions(self, user_id: UUID) -> list[Row]:
        """Living sessions, last used first."""
        return await self.transaction.all(
            "SELECT id, device_id, device_name, client_ip, created_at, last_used_at, expires_at "
            "FROM auth_gateway.session WHERE user_id = %(user)s AND ended_at IS NULL AND expires_at > now() "
            "ORDER BY last_used_at DESC LIMIT 200",
            {"user": user_id},
        )

    async def end_sessions(
        self, user_id: UUID, *, only: UUID | None = None, except_for: UUID | None = None
    ) -> list[UUID]:
        """End one session, or all but one; ids of those that were alive."""
        rows = await self.transaction.all(
            "UPDATE auth_gateway.session SET ended_at = now() WHERE user_id = %(user)s AND ended_at IS NULL "
            "AND (%(only)s::uuid IS NULL OR id = %(only)s) AND (%(keep)s::uuid IS NULL OR id <> %(keep)s) RETURNING id",
            {"user": user_id, "only": only, "keep": except_for},
        )
        return [row["id"] for row in rows]
