"""Every SQL statement of documents, named as questions. Rights are part of each statement; it holds no rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from psycopg import errors as pg
from psycopg.types.json import Jsonb

from common import messaging
from common.access import Action, roles_allowing
from common.auth import Principal
from common.contracts.documents import DocumentCreated, DocumentState, DocumentUpdated
from common.database import Row, Transaction
from common.identifiers import uuid7

from .errors import DocumentExistsError
from .storage import Body

_EDITOR: Final = "IN ('" + "', '".join(roles_allowing(Action.EDIT)) + "')"

HEAD: Final = (
    "d.id, d.workspace_id, d.title, d.language, d.kind, d.version, d.content_version, d.body_sha256, d.size, "
    "d.access_root_id, d.created_at, d.created_by, d.updated_at, d.updated_by, d.trashed_at"
)
MEMBER: Final = (
    "JOIN documents.access_member m ON m.workspace_id = d.workspace_id AND m.user_id = %(user)s AND NOT m.removed"
)

# Appended to statements whose `head` is the changed row: body, version and event in the same round trip.
_BODY: Final = """
    body AS (
        INSERT INTO documents.body (workspace_id, sha256, size, data)
        SELECT workspace_id, %(sha256)s::text, %(size)s::integer, %(data)s::bytea FROM head ON CONFLICT DO NOTHING
    ), version AS (
        INSERT INTO documents.version (document_id, n, workspace_id, body_sha256, size, title, author_id, contributors,
                                       origin, base_version, merged)
        SELECT id, version, workspace_id, body_sha256, size, title, %(user)s::uuid, %(contributors)s::uuid[],
               %(origin)s::text, %(base)s::bigint, %(merged)s::boolean FROM head
    )"""
_OUTBOX: Final = """
    event AS (
        INSERT INTO documents.outbox (event_id, type, aggregate_id, aggregate_version, data, headers)
        SELECT %(event_id)s::uuid, %(event_type)s::text, id, version,
               jsonb_build_object('document_id', id, 'workspace_id', workspace_id, 'access_root_id', access_root_id,
                   'version', version, 'content_version', content_version, 'content_hash', body_sha256, 'size', size,
                   'title', title, 'language', language, 'kind', kind) || %(event_extra)s::jsonb, %(headers)s::jsonb
        FROM head
    )"""

CREATE: Final = f"""
    WITH m AS (
        SELECT role, version FROM documents.access_member
        WHERE workspace_id = %(workspace)s AND user_id = %(user)s AND NOT removed AND role {_EDITOR}
    ), head AS (
        INSERT INTO documents.document AS d (id, workspace_id, access_root_id, title, language, kind, version,
            content_version, body_sha256, size, field_versions, created_by, updated_by)
        SELECT %(id)s::uuid, %(workspace)s::uuid, %(workspace)s::uuid, %(title)s::text, %(language)s::text,
               %(kind)s::text, 1, 1, %(sha256)s::text, %(size)s::integer, %(field_versions)s::jsonb, %(user)s::uuid,
               %(user)s::uuid FROM m
        RETURNING {HEAD}
    ), {_BODY}, {_OUTBOX}
    SELECT head.*, m.role, m.version AS access_version FROM head, m"""

SAVE: Final = f"""
    WITH head AS (
        UPDATE documents.document AS d SET version = d.version + 1, content_version = d.version + 1,
            body_sha256 = %(sha256)s, size = %(size)s, updated_at = now(), updated_by = %(user)s
        FROM documents.access_member m
        WHERE d.id = %(id)s AND d.content_version <= %(expected)s AND d.version >= %(expected)s
          AND d.trashed_at IS NULL AND d.body_sha256 <> %(sha256)s
          AND m.workspace_id = d.workspace_id AND m.user_id = %(user)s AND NOT m.removed
          AND m.role {_EDITOR}
        RETURNING {HEAD}, m.role, m.version AS access_version
    ), {_BODY}, {_OUTBOX}
    SELECT * FROM head"""

GET: Final = f"""
    SELECT {HEAD}, m.role, m.version AS access_version FROM documents.document d {MEMBER} WHERE d.id = %(id)s"""

GET_WITH_BODY: Final = f"""
    SELECT {HEAD}, m.role, m.version AS access_version, b.data FROM documents.document d {MEMBER}
    JOIN documents.body b ON b.workspace_id = d.workspace_id AND b.sha256 = d.body_sha256
    WHERE d.id = %(id)s"""

VERSION: Final = (
    "v.document_id, v.n, v.workspace_id, v.body_sha256, v.size, v.title, v.author_id, v.contributors, v.origin, "
    "v.base_version, v.merged, v.created_at"
)


def _first(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None


@dataclass(frozen=True, slots=True)
class Write:
    """How a content came to be."""

    origin: str
    base: int | None = None
    merged: bool = False
    contributors: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class SortOrder:
    """A list order as SQL: column, direction, comparison of the keyset."""

    column: str
    order: str
    after: str


ORDERS: Final = {
    "-updated_at": SortOrder(
        "updated_at",
        "d.updated_at DESC, d.id DESC",
        "(d.updated_at, d.id) < (%(after)s::timestamptz, %(after_id)s::uuid)",
    ),
    "-created_at": SortOrder(
        "created_at",
        "d.created_at DESC, d.id DESC",
        "(d.created_at, d.id) < (%(after)s::timestamptz, %(after_id)s::uuid)",
    ),
    "title": SortOrder("title", "d.title, d.id", "(d.title, d.id) > (%(after)s::text, %(after_id)s::uuid)"),
}


class DocumentRepository:
    """Documents as one user may see and change them."""

    def __init__(self, transaction: Transaction, principal: Principal) -> None:
        self._transaction = transaction
        self._principal = principal

    async def release(self) -> None:
        """End the reads so far, so that no connection is held during I/O elsewhere."""
        await self._transaction.release()

    async def find(self, document_id: UUID) -> Row | None:
        """Head and the caller's role."""
        return _first(await self._transaction.single(GET, {"id": document_id, "user": self._principal.user_id}))

    async def find_for_update(self, document_id: UUID) -> Row | None:
        """Head, role and the version that last changed each field; the row is locked until the transaction ends."""
        return await self._transaction.one(
            f"SELECT {HEAD}, d.field_versions, m.role, m.version AS access_version FROM documents.document d {MEMBER} "
            "WHERE d.id = %(id)s FOR UPDATE OF d",
            {"id": document_id, "user": self._principal.user_id},
        )

    async def find_with_body(self, document_id: UUID) -> Row | None:
        """Head, role and inline body (`data` is None for a large one)."""
        rows = await self._transaction.single(GET_WITH_BODY, {"id": document_id, "user": self._principal.user_id})
        return _first(rows)

    async def workspace_of(self, document_id: UUID) -> UUID | None:
        """Workspace of any document, for asking its owner about a membership; never shown to the caller."""
        row = await self._transaction.one("SELECT documents.workspace_of(%(id)s) AS workspace_id", {"id": document_id})
        return row["workspace_id"] if row else None

    async def role_in(self, workspace_id: UUID) -> str | None:
        """The caller's role, None if the projection knows of no membership."""
        row = await self._transaction.one(
            "SELECT role FROM documents.access_member "
            "WHERE workspace_id = %(workspace)s AND user_id = %(user)s AND NOT removed",
            {"workspace": workspace_id, "user": self._principal.user_id},
        )
        return row["role"] if row else None

    async def create(self, document: dict[str, Any], body: Body) -> Row | None:
        """Insert head, body, version 1 and event; None if the caller may not create there.

        Raises `DocumentExistsError`.
        """
        try:
            rows = await self._transaction.single(
                CREATE,
                {
                    **document,
                    **self._content(body, Write("create")),
                    **self._event(DocumentCreated, {}),
                    "field_versions": Jsonb({"title": 1, "language": 1}),
                },
            )
        except pg.UniqueViolation as error:
            raise DocumentExistsError from error
        return _first(rows)

    async def save(self, document_id: UUID, body: Body, write: Write, expected: int) -> Row | None:
        """Set the content if nobody changed it since version `expected`; None if that, the rights or the state fail."""
        rows = await self._transaction.single(
            SAVE,
            {
                "id": document_id,
                "expected": expected,
                **self._content(body, write),
                **self._event(DocumentUpdated, {"merged": write.merged, "origin": write.origin}),
            },
        )
        return _first(rows)

    async def update(self, document_id: UUID, changes: dict[str, Any], event: type[DocumentState], **extra: Any) -> Row:
        """Set head columns of a row locked before, count the version, tell the others.

        A changed `title` or `language` notes the version that changed it.
        """
        fields = [name for name in ("title", "language") if name in changes]
        columns = {name: changes.get(name) for name in ("title", "language", "trashed_at", "trashed_by")}
        assignments = ", ".join(
            f"{name} = %({name})s" for name in ("title", "language", "trashed_at", "trashed_by") if name in changes
        )
        row = await self._transaction.one(
            f"""
            WITH head AS (
                UPDATE documents.document AS d SET {assignments}, version = d.version + 1, updated_at = now(),
                    updated_by = %(user)s,
                    field_versions = d.field_versions || coalesce(
                        (SELECT jsonb_object_agg(f, d.version + 1) FROM unnest(%(fields)s::text[]) AS f), '{{}}')
                FROM documents.access_member m
                WHERE d.id = %(id)s AND m.workspace_id = d.workspace_id AND m.user_id = %(user)s AND NOT m.removed
                RETURNING {HEAD}, m.role, m.version AS access_version
            ), {_OUTBOX}
            SELECT * FROM head""",
            {
                **columns,
                "id": document_id,
                "user": self._principal.user_id,
                "fields": fields,
                **self._event(event, extra),
            },
        )
        assert row is not None  # noqa: S101 - locked by find_for_update in this transaction
        return row

    async def list_in(
        self, workspace_id: UUID, *, sort: str, trashed: bool, after: Sequence[Any] | None, filters: dict[str, Any],
        limit: int,
    ) -> list[Row]:  # fmt: skip
        """One row more than `limit`, in order, with the caller's role in each."""
        order = ORDERS[sort]
        conditions: list[str] = ["d.workspace_id = %(workspace)s"]
        conditions.append("d.trashed_at IS NOT NULL" if trashed else "d.trashed_at IS NULL")
        if after:
            conditions.append(order.after)
        if filters.get("q_title"):
            conditions.append("strpos(lower(d.title), lower(%(q_title)s)) > 0")
        if filters.get("updated_since"):
            conditions.append("d.updated_at >= %(updated_since)s")
        where = " AND ".join(conditions)
        return await self._transaction.single(
            f"SELECT {HEAD}, m.role FROM documents.document d {MEMBER} WHERE {where} "
            f"ORDER BY {order.order} LIMIT %(limit)s",
            {
                "workspace": workspace_id,
                "user": self._principal.user_id,
                "after": after[0] if after else None,
                "after_id": after[1] if after else None,
                "limit": limit + 1,
                **filters,
            },
        )

    async def list_versions(self, document_id: UUID, *, before: int | None, limit: int) -> list[Row]:
        """One row more than `limit`, newest first."""
        return await self._transaction.all(
            f"SELECT {VERSION} FROM documents.version v "
            "WHERE v.document_id = %(id)s AND v.n < coalesce(%(before)s, 9223372036854775807) "
            "ORDER BY v.n DESC LIMIT %(limit)s",
            {"id": document_id, "before": before, "limit": limit + 1},
        )

    async def find_version(self, document_id: UUID, n: int) -> Row | None:
        """Version `n` with its inline body."""
        return await self._version("v.n = %(n)s", document_id, n)

    async def find_version_at(self, document_id: UUID, version: int) -> Row | None:
        """The content a reader of document version `version` saw, with its inline body."""
        return await self._version("v.n <= %(n)s", document_id, version)

    async def authors_since(self, document_id: UUID, version: int) -> list[UUID]:
        """Everybody who contributed content after `version`."""
        rows = await self._transaction.all(
            "SELECT DISTINCT unnest(contributors) AS author FROM documents.version "
            "WHERE document_id = %(id)s AND n > %(n)s",
            {"id": document_id, "n": version},
        )
        return [row["author"] for row in rows]

    async def _version(self, condition: str, document_id: UUID, n: int) -> Row | None:
        return await self._transaction.one(
            f"SELECT {VERSION}, b.data FROM documents.version v "
            "JOIN documents.body b ON b.workspace_id = v.workspace_id AND b.sha256 = v.body_sha256 "
            f"WHERE v.document_id = %(id)s AND {condition} ORDER BY v.n DESC LIMIT 1",
            {"id": document_id, "n": n},
        )

    def _content(self, body: Body, write: Write) -> dict[str, Any]:
        user = self._principal.user_id
        return {
            "user": user,
            "sha256": body.sha256,
            "size": body.size,
            "data": body.inline,
            "origin": write.origin,
            "base": write.base,
            "merged": write.merged,
            "contributors": [user, *(author for author in write.contributors if author != user)],
        }

    def _event(self, event: type[DocumentState], extra: dict[str, Any]) -> dict[str, Any]:
        self._transaction.will_tell()
        return {
            "event_id": uuid7(),
            "event_type": event.type,
            "event_extra": Jsonb(extra),
            "headers": Jsonb(messaging.headers(self._principal)),
        }
