"""Own keys, as ciphertext."""

from typing import Final
from uuid import UUID

from common.auth import Principal
from common.contracts.ai_proxy import KeyDeleted, KeyState, KeyStored
from common.database import Row, Transaction
from common.identifiers import uuid7
from common.messaging.outbox import record

SCHEMA: Final = "ai_proxy"
_COLUMNS: Final = "id, kind, owner_id, provider, last4, version, created_by, created_at, updated_at"
_PLACE: Final = "kind = %(kind)s AND owner_id = %(owner)s AND provider = %(provider)s"


class KeyRepository:
    """Own keys one user may manage."""

    def __init__(self, transaction: Transaction, principal: Principal) -> None:
        self._transaction = transaction
        self._principal = principal

    async def find(self, kind: str, owner: UUID, provider: str) -> Row | None:
        """What may be shown of one."""
        return await self._transaction.one(
            f"SELECT {_COLUMNS} FROM ai_proxy.own_key WHERE {_PLACE}",
            {"kind": kind, "owner": owner, "provider": provider},
        )

    async def put(
        self, kind: str, owner: UUID, provider: str, *, wrapped_key: bytes, ciphertext: bytes, last4: str
    ) -> Row:
        """Keep one, instead of what was kept before."""
        row = await self._transaction.one(
            "INSERT INTO ai_proxy.own_key AS k (id, kind, owner_id, provider, wrapped_key, ciphertext, last4, version, "
            "created_by) VALUES (%(id)s, %(kind)s, %(owner)s, %(provider)s, %(wrapped)s, %(hidden)s, %(last4)s, 1, "
            "%(by)s) ON CONFLICT (kind, owner_id, provider) DO UPDATE SET (wrapped_key, ciphertext, last4, version, "
            "updated_at) = (excluded.wrapped_key, excluded.ciphertext, excluded.last4, k.version + 1, now()) "
            f"RETURNING {_COLUMNS}",
            {
                "id": uuid7(), "kind": kind, "owner": owner, "provider": provider, "wrapped": wrapped_key,
                "hidden": ciphertext, "last4": last4, "by": self._principal.user_id,
            },
        )  # fmt: skip
        assert row is not None  # noqa: S101 - inserted or updated
        await self._tell(KeyStored, row, row["version"])
        return row

    async def delete(self, kind: str, owner: UUID, provider: str) -> bool:
        """Forget one; false if there is none."""
        row = await self._transaction.one(
            f"DELETE FROM ai_proxy.own_key WHERE {_PLACE} RETURNING {_COLUMNS}",
            {"kind": kind, "owner": owner, "provider": provider},
        )
        if row:
            await self._tell(KeyDeleted, row, row["version"] + 1)
        return row is not None

    async def _tell(self, kind: type[KeyState], row: Row, version: int) -> None:
        workspace = row["kind"] == "workspace"
        event = kind(
            key_id=row["id"],
            workspace_id=row["owner_id"] if workspace else None,
            user_id=None if workspace else row["owner_id"],
            provider=row["provider"],
            last4=row["last4"],
            version=version,
        )
        await record(
            self._transaction, SCHEMA, event, aggregate_id=row["id"], aggregate_version=version,
            principal=self._principal,
        )  # fmt: skip
