"""Statements about branches: a folder or document with all in it that the caller sees. Sets, never loops."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from psycopg import errors as pg
from psycopg.types.json import Jsonb

from common.auth import Principal
from common.contracts.documents import DocumentCreated, DocumentUpdated, FolderCreated, FolderUpdated
from common.database import Row, Transaction

from ..errors import DocumentExistsError, FolderExistsError
from . import heads

_NODE: Final = "{0}.id, {0}.access_root_id, {0}.trashed_at, {0}.version"
_COPIES: Final = (
    "copies AS (SELECT * FROM unnest(%(ids)s::uuid[], %(copies)s::uuid[], %(parents)s::uuid[], %(roots)s::uuid[]) "
    "AS c (id, copy, parent, root))"
)
_COPY_FOLDERS: Final = f"""
    WITH {_COPIES}, head AS (
        INSERT INTO documents.folder AS f (id, workspace_id, access_root_id, parent_id, name, position, version,
            field_versions, created_by, updated_by)
        SELECT c.copy, s.workspace_id, c.root, c.parent, CASE WHEN c.id = %(top)s THEN %(name)s ELSE s.name END,
               CASE WHEN c.id = %(top)s THEN %(position)s ELSE s.position END, 1, %(field_versions)s, %(user)s, %(user)s
        FROM copies c JOIN documents.folder s ON s.id = c.id
        RETURNING f.*
    ), {heads.FOLDER_EVENTS}
    SELECT id FROM head"""
_COPY_DOCUMENTS: Final = f"""
    WITH {_COPIES}, head AS (
        INSERT INTO documents.document AS d (id, workspace_id, access_root_id, folder_id, position, title, language,
            kind, version, content_version, body_sha256, size, field_versions, created_by, updated_by)
        SELECT c.copy, s.workspace_id, c.root, c.parent, CASE WHEN c.id = %(top)s THEN %(position)s ELSE s.position END,
               CASE WHEN c.id = %(top)s THEN %(name)s ELSE s.title END, s.language, s.kind, 1, 1, s.body_sha256,
               s.size, %(field_versions)s, %(user)s, %(user)s
        FROM copies c JOIN documents.document s ON s.id = c.id
        RETURNING d.*
    ), version AS (
        INSERT INTO documents.version (document_id, n, workspace_id, body_sha256, size, title, author_id, contributors,
                                       origin, merged)
        SELECT id, 1, workspace_id, body_sha256, size, title, %(user)s, ARRAY[%(user)s::uuid], 'duplicate', false
        FROM head
    ), {heads.DOCUMENT_COPIES}
    SELECT id FROM head"""
_MOVES: Final = (
    "moves AS (SELECT * FROM unnest(%(ids)s::uuid[], %(roots)s::uuid[], %(olds)s::uuid[]) AS m (id, root, old_root_id))"
)
_MOVED: Final = (
    "workspace_id = %(workspace)s, access_root_id = m.root, version = {0}.version + 1, "
    "{1} = CASE WHEN {0}.id = %(top)s THEN %(place)s ELSE {0}.{1} END, "
    "position = CASE WHEN {0}.id = %(top)s THEN %(position)s ELSE {0}.position END, "
    "field_versions = {0}.field_versions || jsonb_build_object('place', {0}.version + 1)"
)
_MOVE_FOLDERS: Final = f"""
    WITH {_MOVES}, head AS (
        UPDATE documents.folder AS f SET {_MOVED.format("f", "parent_id")} FROM moves m WHERE f.id = m.id
        RETURNING f.*, m.old_root_id
    ), {heads.FOLDER_MOVES}
    SELECT id, version FROM head"""
_MOVE_DOCUMENTS: Final = f"""
    WITH {_MOVES}, head AS (
        UPDATE documents.document AS d SET {_MOVED.format("d", "folder_id")} FROM moves m WHERE d.id = m.id
        RETURNING d.*, m.old_root_id
    ), versions AS (
        UPDATE documents.version AS v SET workspace_id = %(workspace)s FROM moves m WHERE v.document_id = m.id
    ), {heads.DOCUMENT_MOVES}
    SELECT id, version FROM head"""
# Bodies the versions of these documents need, in the workspace they lie in.
_BODIES: Final = (
    "FROM documents.body b WHERE b.workspace_id = %(from)s AND b.sha256 IN "
    "(SELECT v.body_sha256 FROM documents.version v WHERE v.document_id = ANY(%(ids)s))"
)


class BranchRepository:
    """Branches as one user may see and change them."""

    def __init__(self, transaction: Transaction, principal: Principal) -> None:
        self.transaction = transaction
        self._principal = principal

    async def folders(self, folder_id: UUID, limit: int, *, lock: bool) -> list[Row]:
        """A folder (depth 0) and all below it, nearest first; one more than `limit`."""
        return await self.transaction.all(
            f"""
            WITH RECURSIVE below (id, depth) AS (
                SELECT f.id, 0 FROM documents.folder f WHERE f.id = %(id)s
                UNION ALL
                SELECT f.id, below.depth + 1 FROM below JOIN documents.folder f ON f.parent_id = below.id
            )
            SELECT {_NODE.format("f")}, f.parent_id, below.depth
            FROM below JOIN documents.folder f ON f.id = below.id ORDER BY below.depth, f.id LIMIT %(limit)s
            {"FOR UPDATE OF f" if lock else ""}""",
            {"id": folder_id, "limit": limit + 1},
        )

    async def documents(self, folders: Sequence[UUID], limit: int, *, lock: bool) -> list[Row]:
        """Documents in these folders; one more than `limit`."""
        return await self.transaction.all(
            f"SELECT {_NODE.format('d')}, d.folder_id AS parent_id FROM documents.document d "
            f"WHERE d.folder_id = ANY(%(folders)s) ORDER BY d.id LIMIT %(limit)s {'FOR UPDATE' if lock else ''}",
            {"folders": list(folders), "limit": limit + 1},
        )

    async def rules(self, roots: Collection[UUID]) -> dict[UUID, Row]:
        """The caller's `role` at each of these access roots, and whether it is `restricted`."""
        rows = await self.transaction.all(
            "SELECT o.id, documents.my_role(o.id) AS role, EXISTS (SELECT 1 FROM documents.access_root r "
            "WHERE r.root_id = o.id AND NOT r.inherits AND NOT r.removed) AS restricted "
            "FROM unnest(%(roots)s::uuid[]) AS o (id)",
            {"roots": list(roots)},
        )
        return {row["id"]: row for row in rows}

    async def copy_folders(self, copies: Mapping[str, Any], top: UUID, name: str, position: str) -> None:
        """Insert copies (arrays `ids`, `copies`, `parents`, `roots`) of living folders. Raises `FolderExistsError`."""
        try:
            await self._copy(_COPY_FOLDERS, FolderCreated, copies, top, name, position)
        except pg.UniqueViolation as error:
            raise FolderExistsError from error

    async def copy_documents(self, copies: Mapping[str, Any], top: UUID, name: str, position: str) -> None:
        """Insert copies of documents, each with one version. Raises `DocumentExistsError`."""
        try:
            await self._copy(_COPY_DOCUMENTS, DocumentCreated, copies, top, name, position)
        except pg.UniqueViolation as error:
            raise DocumentExistsError from error

    async def _copy(
        self, statement: str, event: Any, copies: Mapping[str, Any], top: UUID, name: str, position: str
    ) -> None:
        await self.transaction.execute(
            statement,
            {
                **copies,
                "top": top,
                "name": name,
                "position": position,
                "user": self._principal.user_id,
                "field_versions": Jsonb({"name" if event is FolderCreated else "title": 1, "place": 1}),
                **heads.told(self.transaction, self._principal, event, {}),
            },
        )

    async def large_bodies(self, documents: Sequence[UUID], workspace_id: UUID) -> set[str]:
        """SHA-256 of the bodies of these documents' versions that lie in the object store."""
        rows = await self.transaction.all(
            f"SELECT b.sha256 {_BODIES} AND b.data IS NULL", {"ids": list(documents), "from": workspace_id}
        )
        return {row["sha256"] for row in rows}

    async def copy_bodies(self, documents: Sequence[UUID], source: UUID, target: UUID) -> None:
        """Keep the bodies of these documents' versions in another workspace, too."""
        await self.transaction.execute(
            "INSERT INTO documents.body (workspace_id, sha256, size, data) "
            f"SELECT %(to)s, b.sha256, b.size, b.data {_BODIES} ON CONFLICT DO NOTHING",
            {"ids": list(documents), "from": source, "to": target},
        )

    async def move(self, folders: Mapping[str, Any], documents: Mapping[str, Any], to: Mapping[str, Any]) -> list[Row]:
        """Put folders and documents (arrays `ids`, `roots`, `olds`) into another workspace; their new versions.

        `to`: `workspace`, and for the `top` of the branch `place` and `position`.
        """
        extra = {"origin": "move", "previous_workspace_id": str(to["from"])}
        moved = await self.transaction.all(
            _MOVE_FOLDERS,
            {**folders, **to, **heads.told(self.transaction, self._principal, FolderUpdated, extra)},
        )
        moved += await self.transaction.all(
            _MOVE_DOCUMENTS,
            {
                **documents,
                **to,
                **heads.told(self.transaction, self._principal, DocumentUpdated, extra | {"merged": False}),
            },
        )
        await self.transaction.execute(
            "UPDATE documents.access_request SET workspace_id = %(workspace)s "
            "WHERE node_id = ANY(%(nodes)s) AND decided_at IS NULL",
            {"workspace": to["workspace"], "nodes": [*folders["ids"], *documents["ids"]]},
        )
        return moved

    async def leave_behind(self, folders: Sequence[UUID], moving: Sequence[UUID]) -> list[UUID]:
        """What lies in these folders and does not move with them comes to the top of its workspace; its access roots.

        The caller does not see it: they learn nothing of it.
        """
        params, extra = {"folders": list(folders), "moving": list(moving)}, {"origin": "move"}
        left = await self.transaction.all(
            f"WITH head AS (SELECT * FROM documents.detach_folders(%(folders)s, %(moving)s)), {heads.FOLDER_EVENTS} "
            "SELECT id, access_root_id FROM head",
            params | heads.told(self.transaction, self._principal, FolderUpdated, extra),
        )
        left += await self.transaction.all(
            f"WITH head AS (SELECT * FROM documents.detach_documents(%(folders)s, %(moving)s)), {heads.DOCUMENT_EVENTS}"
            " SELECT id, access_root_id FROM head",
            params | heads.told(self.transaction, self._principal, DocumentUpdated, extra | {"merged": False}),
        )
        return [row["access_root_id"] for row in left]
