"""Statements about documents, their versions and bodies."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from psycopg import errors as pg
from psycopg.types.json import Jsonb

from common.access import Action, roles_allowing
from common.auth import Principal
from common.contracts.documents import DocumentCreated, DocumentState, DocumentUpdated
from common.database import Row, Transaction

from ..errors import DocumentExistsError
from ..storage import Body
from . import heads

_EDITOR: Final = "IN ('" + "', '".join(roles_allowing(Action.EDIT)) + "')"

HEAD: Final = heads.DOCUMENT
ROLE: Final = "documents.my_role(d.access_root_id) AS role"

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

# The folder is locked against being restricted or moved meanwhile; its root is read once it is.
_TOP: Final = "SELECT %(workspace)s::uuid AS root_id"
_IN_FOLDER: Final = (
    "SELECT f.access_root_id AS root_id FROM documents.folder f WHERE f.id = %(folder)s "
    "AND f.workspace_id = %(workspace)s AND f.trashed_at IS NULL FOR SHARE"
)


def _create(place: str) -> str:
    return f"""
    WITH place AS MATERIALIZED (
        {place}
    ), m AS MATERIALIZED (
        SELECT root_id, documents.my_role(root_id) AS role FROM place
    ), head AS (
        INSERT INTO documents.document AS d (id, workspace_id, access_root_id, folder_id, position, title, language,
            kind, version, content_version, body_sha256, size, field_versions, created_by, updated_by)
        SELECT %(id)s::uuid, %(workspace)s::uuid, m.root_id, %(folder)s::uuid, %(position)s::text, %(title)s::text,
               %(language)s::text, %(kind)s::text, 1, 1, %(sha256)s::text, %(size)s::integer,
               %(field_versions)s::jsonb, %(user)s::uuid, %(user)s::uuid
        FROM m WHERE m.role {_EDITOR} AND documents.claim_id(%(id)s, 'document')
        RETURNING {HEAD}
    ), {_BODY}, {heads.DOCUMENT_EVENT}
    SELECT head.*, m.role FROM head, m"""


CREATE: Final = _create(_TOP)
CREATE_IN_FOLDER: Final = _create(_IN_FOLDER)
CREATE_UNDER: Final = _create("SELECT %(root)s::uuid AS root_id")

SAVE: Final = f"""
    WITH head AS (
        UPDATE documents.document AS d SET version = d.version + 1, content_version = d.version + 1,
            previous_content_version = d.content_version, body_sha256 = %(sha256)s, size = %(size)s,
            updated_at = now(), updated_by = %(user)s
        WHERE d.id = %(id)s AND d.content_version <= %(expected)s AND d.version >= %(expected)s
          AND d.trashed_at IS NULL AND d.body_sha256 <> %(sha256)s AND {heads.FREE}
          AND d.workspace_id = coalesce(%(workspace)s::uuid, d.workspace_id)
          AND documents.my_role(d.access_root_id) {_EDITOR}
        RETURNING {HEAD}, d.previous_content_version, {ROLE}
    ), {_BODY}, {heads.CONTENT_EVENT}
    SELECT * FROM head"""

GET: Final = f"SELECT {HEAD}, {ROLE} FROM documents.document d WHERE d.id = %(id)s"

GET_WITH_BODY: Final = f"""
    SELECT {HEAD}, {ROLE}, {heads.HELD}, b.data FROM documents.document d
    JOIN documents.body b ON b.workspace_id = d.workspace_id AND b.sha256 = d.body_sha256
    WHERE d.id = %(id)s"""

VERSION: Final = (
    "v.document_id, v.n, v.workspace_id, v.body_sha256, v.size, v.title, v.author_id, v.contributors, v.origin, "
    "v.base_version, v.merged, v.created_at"
)


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
    "position": SortOrder("position", "d.position, d.id", "(d.position, d.id) > (%(after)s::text, %(after_id)s::uuid)"),
}
_FILTERS: Final = {
    "folder_id": "d.folder_id = %(folder_id)s AND EXISTS (SELECT 1 FROM documents.folder f WHERE f.id = %(folder_id)s)",
    "q_title": "strpos(lower(d.title), lower(%(q_title)s)) > 0",
    "updated_since": "d.updated_at >= %(updated_since)s",
}
# What has rules of its own may be the caller's, and the folder it lies in not.
_SHOWN_AT_THE_TOP: Final = (
    "d.id = m.root_id AND d.folder_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM documents.folder f "
    "WHERE f.id = d.folder_id AND f.trashed_at IS NULL)"
)
_PLACE: Final = frozenset(("folder_id", "position", "access_root_id", "workspace_id"))
_FIELDS: Final = {"title": {"title"}, "language": {"language"}, "place": {"folder_id", "position"}}


def list_statement(sort: str, filters: Mapping[str, Any], after: Sequence[Any] | None) -> str:
    """A list of documents in order, each with the caller's role.

    Each of the caller's access roots is asked for its first rows, so that little is read for who may see little;
    what lies in one folder is few, and sorted.
    """
    order = ORDERS[sort]
    conditions = [condition for name, condition in _FILTERS.items() if filters.get(name)]
    conditions.append("d.trashed_at IS NOT NULL" if filters.get("trashed") else "d.trashed_at IS NULL")
    if after:
        conditions.append(order.after)
    where, page = " AND ".join(conditions), f"ORDER BY {order.order} LIMIT %(limit)s"
    if filters.get("folder_id"):
        source = (
            "documents.document d JOIN documents.my_access(%(workspace)s) m ON m.root_id = d.access_root_id "
            f"WHERE {where}"
        )
    else:
        each = f"SELECT * FROM documents.document d WHERE d.access_root_id = m.root_id AND {where}"
        if filters.get("top"):
            each = f"(({each} AND d.folder_id IS NULL {page}) UNION ALL ({each} AND {_SHOWN_AT_THE_TOP})) AS d"
        else:
            each = f"({each} {page}) AS d"
        source = f"documents.my_access(%(workspace)s) m CROSS JOIN LATERAL {each}"
    return f"SELECT {HEAD}, m.role FROM {source} {page}"


def _creation_of(document: Mapping[str, Any]) -> str:
    return CREATE_UNDER if document.get("root") else CREATE_IN_FOLDER if document["folder"] else CREATE


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
        return heads.first(await self._transaction.single(GET, {"id": document_id}))

    async def find_for_update(self, document_id: UUID) -> Row | None:
        """Head, role and the version that last changed each field; the row is locked until the transaction ends."""
        return await heads.locked(
            self._transaction,
            f"SELECT {HEAD}, {ROLE}, d.field_versions FROM documents.document d WHERE d.id = %(id)s FOR UPDATE OF d",
            document_id,
        )

    async def find_with_body(self, document_id: UUID) -> Row | None:
        """Head, role and inline body (`data` is None for a large one)."""
        rows = await self._transaction.single(GET_WITH_BODY, {"id": document_id})
        return heads.first(rows)

    async def held_for(self, document_id: UUID) -> float:
        """Seconds for which only a live room's export may change the content; 0 if it is nobody's."""
        row = heads.first(
            await self._transaction.single(
                f"SELECT {heads.HELD} FROM documents.document d WHERE d.id = %(id)s", {"id": document_id}
            )
        )
        return row["held"] if row else 0.0

    async def role_at(self, root_id: UUID) -> str | None:
        """The caller's role at an access root, such as a workspace."""
        row = await self._transaction.one("SELECT documents.my_role(%(root)s) AS role", {"root": root_id})
        return row["role"] if row else None

    async def my_name(self) -> str | None:
        """The caller's display name, None while no event has told of it."""
        row = await self._transaction.one(
            "SELECT display_name FROM documents.access_user WHERE user_id = %(user)s",
            {"user": self._principal.user_id},
        )
        return row["display_name"] if row else None

    async def belongs_to(self, workspace_id: UUID) -> bool:
        """Whether the caller is a member or guest of a workspace."""
        row = await self._transaction.one(
            "SELECT %(workspace)s = ANY(documents.my_workspaces()) AS here", {"workspace": workspace_id}
        )
        return bool(row and row["here"])

    async def create(self, document: dict[str, Any], body: Body, *, alone: bool = True) -> Row | None:
        """Insert head, body, version 1 and event, under access root `root` if it names one; None if the caller may not.

        `alone`: nothing follows in the same transaction. Raises `DocumentExistsError`.
        """
        run = self._transaction.single if alone else self._transaction.all
        return await self._create(run, _creation_of(document), document, body)

    async def create_copy(self, document: dict[str, Any], body: Body, conflict_of: UUID) -> Row | None:
        """The same for a text that could not be merged. Raises `DocumentExistsError`."""
        extra, write = {"conflict_of": str(conflict_of)}, Write("conflict")
        return await self._create(self._transaction.all, _creation_of(document), document, body, write, extra)

    async def _create(
        self,
        run: Callable[[str, dict[str, Any]], Awaitable[list[Row]]],
        statement: str,
        document: dict[str, Any],
        body: Body,
        write: Write = Write("create"),
        extra: Mapping[str, Any] = MappingProxyType({}),
    ) -> Row | None:
        try:
            rows = await run(statement, self._creation(document, body, write, extra))
        except pg.UniqueViolation as error:
            raise DocumentExistsError from error
        return heads.first(rows)

    def _creation(self, document: dict[str, Any], body: Body, write: Write, extra: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **document,
            **self._content(body, write),
            **self._event(DocumentCreated, dict(extra)),
            "field_versions": Jsonb({"title": 1, "language": 1, "place": 1}),
        }

    async def texts_known(self, document_id: UUID, base_version: int, base_hash: str | None) -> list[Row]:
        """Versions that may be the one meant: the newest up to a version, and the newest with that hash."""
        return await self._transaction.all(
            f"(SELECT {VERSION}, b.data FROM documents.version v JOIN documents.body b "
            "ON b.workspace_id = v.workspace_id AND b.sha256 = v.body_sha256 "
            "WHERE v.document_id = %(id)s AND v.n <= %(n)s ORDER BY v.n DESC LIMIT 1) UNION ALL "
            f"(SELECT {VERSION}, b.data FROM documents.version v JOIN documents.body b "
            "ON b.workspace_id = v.workspace_id AND b.sha256 = v.body_sha256 "
            "WHERE v.document_id = %(id)s AND v.body_sha256 = %(hash)s ORDER BY v.n DESC LIMIT 1)",
            {"id": document_id, "n": base_version, "hash": base_hash},
        )

    async def save(
        self, document_id: UUID, body: Body, write: Write, expected: int, workspace_id: UUID | None
    ) -> Row | None:
        """Set the content if nobody changed it since version `expected`; None if that, the rights or the state fail.

        None, too, while the document is held for a live room's export.
        `workspace_id`: where a large body was put, so that a document that was moved meanwhile does not miss it.
        """
        rows = await self._transaction.single(
            SAVE,
            {
                "id": document_id,
                "expected": expected,
                "workspace": workspace_id,
                **self._content(body, write),
                **self._event(DocumentUpdated, {"merged": write.merged, "origin": write.origin}),
            },
        )
        return heads.first(rows)

    async def update(self, head: Row, changes: dict[str, Any], event: type[DocumentState], **extra: Any) -> Row:
        """Set columns of a row locked before, count the version, tell the others.

        A changed `title`, `language` or place notes the version that changed it.
        """
        assignments = ", ".join(f"{name} = %({name})s" for name in changes)
        moved = {"root": "access_root_id", "workspace": "workspace_id"}
        before = {
            f"previous_{name}_id": str(head[column])
            for name, column in moved.items()
            if changes.get(column, head[column]) != head[column]
        }
        row = await self._transaction.one(
            f"""
            WITH head AS (
                UPDATE documents.document AS d SET {assignments}, version = d.version + 1,
                    updated_at = CASE WHEN %(seen)s THEN now() ELSE d.updated_at END, updated_by = %(user)s,
                    field_versions = d.field_versions || coalesce(
                        (SELECT jsonb_object_agg(f, d.version + 1) FROM unnest(%(fields)s::text[]) AS f), '{{}}')
                WHERE d.id = %(id)s
                RETURNING {HEAD}
            ), {heads.DOCUMENT_EVENT}
            SELECT * FROM head""",
            {
                **changes,
                "id": head["id"],
                "user": self._principal.user_id,
                "seen": not changes.keys() <= _PLACE,
                "fields": [field for field, columns in _FIELDS.items() if not columns.isdisjoint(changes)],
                **self._event(event, extra | before),
            },
        )
        assert row is not None  # noqa: S101 - locked by find_for_update in this transaction
        return row | {"role": head["role"]}

    async def list_in(
        self, workspace_id: UUID, *, sort: str, after: Sequence[Any] | None, filters: dict[str, Any], limit: int
    ) -> list[Row]:
        """One row more than `limit`, in order, with the caller's role in each."""
        return await self._transaction.single(
            list_statement(sort, filters, after),
            {
                **filters,
                "workspace": workspace_id,
                "after": after[0] if after else None,
                "after_id": after[1] if after else None,
                "limit": limit + 1,
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
        return heads.told(self._transaction, self._principal, event, extra)
