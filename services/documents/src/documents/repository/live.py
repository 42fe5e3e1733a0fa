"""Statements for live rooms: as the worker role, which sees every document; the room's service has checked rights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from psycopg import errors as pg

from common.contracts.documents import DocumentUpdated
from common.database import Call, Row, Transaction

from ..storage import Body
from . import heads

_HEAD: Final = (
    "d.id, d.workspace_id, d.access_root_id, d.kind, d.title, d.version, d.content_version, d.body_sha256, d.size, "
    "d.trashed_at"
)
_BODY: Final = "JOIN documents.body b ON b.workspace_id = d.workspace_id AND b.sha256 = d.body_sha256"
FIND: Final = f"""
    SELECT {_HEAD}, CASE WHEN d.content_version <> %(known)s THEN b.data END AS data
    FROM documents.document d {_BODY} WHERE d.id = %(id)s"""
FIND_EXPORT: Final = f"""
    SELECT {_HEAD}, CASE WHEN d.content_version <> %(base)s THEN b.data END AS data, e.content_hash AS known_hash,
           e.version AS known_version, e.content_version AS known_content_version
    FROM documents.document d {_BODY}
    LEFT JOIN documents.live_export e ON e.document_id = d.id AND e.lineage = %(lineage)s AND e.seq = %(seq)s
    WHERE d.id = %(id)s"""
VERSIONS: Final = """
    SELECT v.n, v.origin, v.lineage, v.seq, v.author_id, v.contributors, v.body_sha256, v.size,
           (SELECT max(p.n) FROM documents.version p WHERE p.document_id = v.document_id AND p.n < v.n) AS previous
    FROM documents.version v WHERE v.document_id = %(id)s AND v.n > %(after)s AND v.n <= %(newest)s
    ORDER BY v.n LIMIT %(limit)s"""
TEXT: Final = """
    SELECT v.workspace_id, v.body_sha256, v.size, b.data FROM documents.version v
    JOIN documents.body b ON b.workspace_id = v.workspace_id AND b.sha256 = v.body_sha256
    WHERE v.document_id = %(id)s AND v.n = %(n)s"""

# Whoever holds rows for long must not let exports take all the worker's connections to wait with.
_IMPATIENT: Final[Call] = ("SELECT set_config('lock_timeout', '1s', true)", {})
_ENDED: Final = "CASE WHEN d.held_until > clock_timestamp() THEN clock_timestamp() ELSE d.held_until END"
_KEPT: Final = (
    "kept AS (INSERT INTO documents.live_export (document_id, lineage, seq, content_hash, version, content_version) "
    "SELECT id, %(lineage)s::bigint, %(seq)s::bigint, body_sha256, version, content_version FROM head)"
)
# No claim before: whoever waited for the same export finds the content version changed.
EXPORT: Final = f"""
    WITH head AS (
        UPDATE documents.document AS d SET version = d.version + 1, content_version = d.version + 1,
            previous_content_version = d.content_version, body_sha256 = %(sha256)s, size = %(size)s,
            updated_at = now(), updated_by = %(author)s, held_until = {_ENDED}
        WHERE d.id = %(id)s AND d.content_version = %(base)s AND d.body_sha256 <> %(sha256)s
          AND d.workspace_id = %(workspace)s
        RETURNING d.*
    ), body AS (
        INSERT INTO documents.body (workspace_id, sha256, size, data)
        SELECT workspace_id, %(sha256)s::text, %(size)s::integer, %(data)s::bytea FROM head ON CONFLICT DO NOTHING
    ), version AS (
        INSERT INTO documents.version (document_id, n, workspace_id, body_sha256, size, title, author_id, contributors,
                                       origin, base_version, merged, lineage, seq)
        SELECT id, version, workspace_id, body_sha256, size, title, %(author)s::uuid, %(contributors)s::uuid[],
               'live', %(base)s::bigint, false, %(lineage)s::bigint, %(seq)s::bigint FROM head
    ), {_KEPT}, {heads.CONTENT_EVENT}
    SELECT version, content_version FROM head"""
KEEP_SAME: Final = f"""
    WITH head AS (
        UPDATE documents.document AS d SET held_until = {_ENDED}
        WHERE d.id = %(id)s AND d.content_version = %(base)s AND d.body_sha256 = %(sha256)s
        RETURNING d.id, d.body_sha256, d.version, d.content_version
    ), {_KEPT}
    SELECT version, content_version FROM head"""

HOLD: Final = """
    UPDATE documents.document AS d SET held_until = clock_timestamp() + %(seconds)s * interval '1 second'
    WHERE d.id = %(id)s
      AND (d.held_until IS NULL OR d.held_until + %(pause)s * interval '1 second' <= clock_timestamp())
    RETURNING d.held_until, true AS held"""
FIND_HOLD: Final = (
    "SELECT d.held_until, d.held_until > clock_timestamp() AS held FROM documents.document d WHERE d.id = %(id)s"
)


@dataclass(frozen=True, slots=True)
class Exported:
    """A live room's text: the state `seq` of its log `lineage`, which follows content version `base`."""

    document_id: UUID
    base: int
    lineage: int
    seq: int
    author_id: UUID
    contributors: tuple[UUID, ...]
    """All, the author among them."""

    @property
    def key(self) -> dict[str, Any]:
        """Parameters that name it."""
        return {"id": self.document_id, "base": self.base, "lineage": self.lineage, "seq": self.seq}


class LiveRepository:
    """Every document, for live rooms."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def find(self, document_id: UUID, known: int) -> Row | None:
        """Head, with its inline body unless content version `known` is the current one."""
        return await self._first(FIND, {"id": document_id, "known": known})

    async def find_export(self, export: Exported) -> Row | None:
        """Head, with what this export was answered before, and the inline body if its base is not current."""
        return await self._first(FIND_EXPORT, export.key)

    async def newest(self, document_id: UUID) -> int | None:
        """Number of the current content version."""
        row = await self._first("SELECT content_version FROM documents.document WHERE id = %(id)s", {"id": document_id})
        return row["content_version"] if row else None

    async def versions(self, document_id: UUID, *, after: int, newest: int, limit: int) -> list[Row]:
        """Content versions after one, up to another, in order."""
        return await self._transaction.single(
            VERSIONS, {"id": document_id, "after": after, "newest": newest, "limit": limit}
        )

    async def find_text(self, document_id: UUID, n: int) -> Row | None:
        """A content version's inline body."""
        return await self._first(TEXT, {"id": document_id, "n": n})

    async def export(self, export: Exported, body: Body, workspace_id: UUID) -> Row | None:
        """Make the next content version; None, and nothing done, unless the base is current and holds other bytes.

        None, too, if the document is not in the workspace a large body was put into.
        """
        headers = {"actor": str(export.author_id), "clientip": None}
        extra = {"merged": False, "origin": "live", "lineage": export.lineage, "seq": export.seq}
        content = {
            "sha256": body.sha256, "size": body.size, "data": body.inline, "workspace": workspace_id,
            "author": export.author_id, "contributors": list(export.contributors),
        }  # fmt: skip
        told = heads.told(self._transaction, None, DocumentUpdated, extra, headers)
        return await self._write(EXPORT, export.key | content | told)

    async def keep_same(self, export: Exported, body: Body) -> Row | None:
        """Note that the current content is the export's; None unless that, and its base, is so."""
        return await self._write(KEEP_SAME, export.key | {"sha256": body.sha256})

    async def hold(self, document_id: UUID, *, seconds: float, pause: float) -> Row | None:
        """Let nobody else write content for `seconds`; None while there is a hold, and for `pause` seconds after."""
        return await self._write(HOLD, {"id": document_id, "seconds": seconds, "pause": pause})

    async def find_hold(self, document_id: UUID) -> Row | None:
        """When the last hold ends or ended, and whether the document is `held` now."""
        return await self._first(FIND_HOLD, {"id": document_id})

    async def _first(self, statement: str, params: Mapping[str, Any]) -> Row | None:
        return heads.first(await self._transaction.single(statement, params))

    async def _write(self, statement: str, params: Mapping[str, Any]) -> Row | None:
        """None, too, if the same export was faster."""
        try:
            _, rows = await self._transaction.together([_IMPATIENT, (statement, params)])
        except pg.UniqueViolation:
            return None
        return heads.first(rows)
