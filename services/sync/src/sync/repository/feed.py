"""Statements about what scopes hold, as one user may see it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from common.database import Row, Transaction

from ..domain import Head, Scope, Tally

_ROW = (
    "i.scope_kind, i.scope_id, i.entity, i.id, i.seq, i.version, i.gone, i.reason, i.content_hash, i.size, "
    "i.parent_id, i.title, i.data, i.actor, i.device_id, i.op_id, i.changed_at"
)
_SCOPES = "unnest(%(kinds)s::text[], %(ids)s::uuid[])"


class FeedRepository:
    """Scopes and what they hold."""

    def __init__(self, transaction: Transaction, user_id: UUID) -> None:
        self._transaction = transaction
        self._user_id = user_id

    async def release(self) -> None:
        """End the reads so far, so that no connection is held during I/O elsewhere."""
        await self._transaction.release()

    async def heads(self) -> dict[Scope, Head]:
        """Every scope the caller may read now, with its head; their own first."""
        rows = await self._transaction.single(
            "SELECT kind, id, role, seq, low_seq, items, checksum FROM sync.my_scopes()"
        )
        return {
            Scope(row["kind"], row["id"]): Head(
                row["role"], row["seq"], row["low_seq"], Tally(row["items"], row["checksum"] % 2**64)
            )
            for row in rows
        }

    async def rows_after(self, positions: Mapping[Scope, int], limit: int) -> list[Row]:
        """What changed in these scopes after a number each, in their order, each by number; at most `limit`."""
        return await self._transaction.all(
            f"SELECT {_ROW} FROM unnest(%(kinds)s::text[], %(ids)s::uuid[], %(seqs)s::bigint[]) "
            "WITH ORDINALITY AS s (kind, id, seq, place) CROSS JOIN LATERAL (SELECT * FROM sync.item i "
            "WHERE i.scope_kind = s.kind AND i.scope_id = s.id AND i.seq > s.seq ORDER BY i.seq LIMIT %(limit)s) AS i "
            "ORDER BY s.place, i.seq LIMIT %(limit)s",
            {**_of(positions), "seqs": list(positions.values()), "limit": limit},
        )

    async def held(self, ids: Sequence[UUID], scopes: Iterable[Scope]) -> list[Row]:
        """Entities with these ids that some of these scopes hold."""
        return await self._transaction.all(
            f"SELECT {_ROW} FROM sync.item i WHERE i.id = ANY(%(wanted)s) AND NOT i.gone "
            f"AND (i.scope_kind, i.scope_id) IN (SELECT * FROM {_SCOPES})",
            {"wanted": list(ids), **_of(scopes)},
        )

    async def versions(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """Newest version we know of these entities, where the caller may read."""
        rows = await self._transaction.all(
            "SELECT id, max(version) AS version FROM sync.item WHERE id = ANY(%(ids)s) "
            "AND reason IS DISTINCT FROM 'moved' GROUP BY id",
            {"ids": list(ids)},
        )
        return {row["id"]: row["version"] for row in rows}

    async def buckets(self, scope: Scope) -> list[Row]:
        """Count and sum of a scope's checksums by the last byte of ids: `bucket`, `count`, `sum` (not reduced)."""
        return await self._transaction.all(
            "SELECT get_byte(uuid_send(id), 15) AS bucket, count(*) AS count, sum(checksum::numeric) AS sum "
            "FROM sync.item WHERE scope_kind = %(kind)s AND scope_id = %(id)s AND NOT gone GROUP BY 1",
            scope._asdict(),
        )

    async def with_own_rules_in(self, folders: Sequence[UUID], scopes: Iterable[Scope]) -> list[Row]:
        """What lies in these folders, is an access root itself, and in one of these scopes."""
        return await self._transaction.all(
            f"SELECT {_ROW} FROM sync.item i WHERE i.parent_id = ANY(%(folders)s) AND i.scope_id = i.id AND NOT i.gone "
            f"AND i.entity IN ('document', 'folder') AND (i.scope_kind, i.scope_id) IN (SELECT * FROM {_SCOPES})",
            {"folders": list(folders), **_of(scopes)},
        )

    async def in_buckets(self, scope: Scope, buckets: Sequence[int]) -> list[Row]:
        """What some buckets of a scope hold."""
        return await self._transaction.all(
            f"SELECT {_ROW} FROM sync.item i WHERE i.scope_kind = %(kind)s AND i.scope_id = %(id)s AND NOT i.gone "
            "AND get_byte(uuid_send(i.id), 15) = ANY(%(buckets)s)",
            {**scope._asdict(), "buckets": list(buckets)},
        )

    async def groups(self) -> set[UUID]:
        """Groups the caller is in."""
        rows = await self._transaction.all(
            "SELECT group_id FROM sync.access_group_member WHERE user_id = %(user)s AND NOT removed",
            {"user": self._user_id},
        )
        return {row["group_id"] for row in rows}

    async def workspaces(self) -> set[UUID]:
        """Workspaces the caller belongs to, as member or guest."""
        row = await self._transaction.one("SELECT sync.my_workspaces() AS ids")
        return set(row["ids"]) if row else set()

    async def conflicts(self, after: UUID | None, limit: int) -> list[Row]:
        """Conflicts nobody has settled, oldest first; one more than `limit`."""
        return await self._transaction.all(
            "SELECT c.copy_id, c.document_id, c.user_id, c.device_id, c.op_id, c.created_at, i.title, i.version, "
            "i.content_hash FROM sync.conflict c JOIN sync.item i ON i.id = c.copy_id AND i.entity = 'document' "
            "AND NOT i.gone WHERE c.resolved_at IS NULL AND (%(after)s::uuid IS NULL OR c.copy_id > %(after)s) "
            "ORDER BY c.copy_id LIMIT %(limit)s",
            {"after": after, "limit": limit + 1},
        )

    async def conflict(self, copy_id: UUID) -> Row | None:
        """One conflict, settled or not: also when its copy lies in the trash by now."""
        return await self._transaction.one(
            "SELECT copy_id, document_id, resolved_at, choice FROM sync.conflict WHERE copy_id = %(id)s",
            {"id": copy_id},
        )

    async def settle(self, copy_id: UUID, choice: str) -> None:
        """Note how a conflict was settled."""
        await self._transaction.execute(
            "UPDATE sync.conflict SET resolved_at = now(), resolved_by = %(user)s, choice = %(choice)s "
            "WHERE copy_id = %(id)s AND resolved_at IS NULL",
            {"id": copy_id, "user": self._user_id, "choice": choice},
        )

    async def open_conflicts(self) -> int:
        """How many conflicts the caller sees that nobody has settled."""
        row = await self._transaction.one(
            "SELECT count(*) AS n FROM sync.conflict c WHERE c.resolved_at IS NULL AND EXISTS (SELECT FROM sync.item i "
            "WHERE i.id = c.copy_id AND i.entity = 'document' AND NOT i.gone)"
        )
        return row["n"] if row else 0


def _of(scopes: Iterable[Scope]) -> dict[str, Any]:
    found = list(scopes)
    return {"kinds": [scope.kind for scope in found], "ids": [scope.id for scope in found]}
