"""Statements about operations of devices: what became of each, and texts they name."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from psycopg import errors as pg
from psycopg.types.json import Jsonb

from common.auth import Principal
from common.database import Row, Transaction

from ..errors import TooManyWritersError

CONSTRAINT: Final = "op_result_pkey"


def claim_of(op_id: UUID, device_id: UUID | None, n: int, request_hash: bytes) -> dict[str, Any]:
    """Parameters of an operation's row."""
    return {"op_id": op_id, "op_device": device_id, "op_n": n, "op_hash": request_hash}


def is_known(error: pg.UniqueViolation) -> bool:
    """Whether it was the operation that existed already."""
    return error.diag.constraint_name == CONSTRAINT


class OperationRepository:
    """Operations of one user."""

    def __init__(self, transaction: Transaction, principal: Principal) -> None:
        self._transaction = transaction
        self._user_id = principal.user_id

    async def known(self, ids: Sequence[UUID]) -> dict[UUID, Row]:
        """Those of these operations that were done before, with what became of them."""
        rows = await self._transaction.single(
            # LATERAL and LIMIT: one probe of the index each, however many there are of this user (ANY read them all).
            "SELECT r.* FROM unnest(%(ids)s::uuid[]) AS wanted (id) CROSS JOIN LATERAL (SELECT op_id, request_hash, "
            "status, result FROM documents.op_result WHERE user_id = %(user)s AND op_id = wanted.id LIMIT 1) AS r",
            {"user": self._user_id, "ids": list(ids)},
        )
        return {row["op_id"]: row for row in rows}

    async def claim(self, operation: Mapping[str, Any]) -> bool:
        """First write of an effect; waits for whoever does the same one now. False if it is done."""
        row = await self._transaction.one(
            "INSERT INTO documents.op_result (user_id, op_id, device_id, n, request_hash) "
            "VALUES (%(user)s, %(op_id)s, %(op_device)s, %(op_n)s, %(op_hash)s) ON CONFLICT DO NOTHING RETURNING true",
            {**operation, "user": self._user_id},
        )
        return row is not None

    async def keep(
        self,
        op_id: UUID,
        entity_id: UUID | None,
        status: str,
        result: Mapping[str, Any],
        payload: tuple[str, bytes] | None,
    ) -> None:
        """Last write of an effect: what became of it; a text that is nowhere else, by its hash, compressed.

        Raises `TooManyWritersError` if it is not claimed.
        """
        kept = await self._transaction.one(
            "UPDATE documents.op_result SET entity_id = %(entity)s, status = %(status)s, result = %(result)s, "
            "payload_hash = %(hash)s, payload = %(payload)s "
            "WHERE user_id = %(user)s AND op_id = %(op_id)s RETURNING true",
            {
                "user": self._user_id, "op_id": op_id, "entity": entity_id, "status": status,
                "result": Jsonb(dict(result)), "hash": payload and payload[0], "payload": payload and payload[1],
            },
        )  # fmt: skip
        if kept is None:  # the claim was undone by reading through
            raise TooManyWritersError

    async def placed_at(self, entity: str, id_: UUID) -> int:
        """The version that last moved a document or folder."""
        table = "document" if entity == "document" else "folder"
        row = await self._transaction.one(
            f"SELECT coalesce((field_versions ->> 'place')::bigint, 1) AS n FROM documents.{table} WHERE id = %(id)s",
            {"id": id_},
        )
        return row["n"] if row else 0

    async def payload(self, document_id: UUID, content_hash: str) -> bytes | None:
        """A text the user sent for a document that was merged, and is no version by itself; compressed."""
        row = await self._transaction.one(
            "SELECT payload FROM documents.op_result WHERE user_id = %(user)s AND entity_id = %(id)s "
            "AND payload_hash = %(hash)s AND payload IS NOT NULL AND status = 'merged' LIMIT 1",
            {"user": self._user_id, "id": document_id, "hash": content_hash},
        )
        return row["payload"] if row else None

    async def texts(self, items: Sequence[tuple[UUID, int]], largest: int) -> list[Row]:
        """Content versions the user may read, with their inline bodies; none above `largest` bytes."""
        return await self._transaction.single(
            "SELECT v.document_id, v.n, v.workspace_id, v.body_sha256, v.size, b.data "
            "FROM unnest(%(ids)s::uuid[], %(versions)s::bigint[]) AS wanted (id, n) "
            "JOIN documents.version v ON v.document_id = wanted.id AND v.n = wanted.n AND v.size <= %(largest)s "
            "JOIN documents.body b ON b.workspace_id = v.workspace_id AND b.sha256 = v.body_sha256",
            {"ids": [item[0] for item in items], "versions": [item[1] for item in items], "largest": largest},
        )
