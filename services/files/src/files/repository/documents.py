"""Where documents lie that files are attached to."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from common.database import Row, Transaction


class DocumentRepository:
    """Documents and workspaces, as one user may know of them."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def find(self, document_id: UUID) -> Row | None:
        """The document with the caller's `role`; None if it is unknown here or none of theirs."""
        return await self._transaction.one(
            "SELECT id, workspace_id, access_root_id, version, trashed, files.my_role(access_root_id) AS role "
            "FROM files.document WHERE id = %(id)s",
            {"id": document_id},
        )

    async def role_at(self, root_id: UUID) -> str | None:
        """The caller's role at an access root."""
        row = await self._transaction.one("SELECT files.my_role(%(root)s) AS role", {"root": root_id})
        return row["role"] if row else None

    async def belongs_to(self, workspace_id: UUID) -> bool:
        """Whether the caller is a member or guest of the workspace."""
        row = await self._transaction.one(
            "SELECT %(id)s::uuid = ANY(files.my_workspaces()) AS belongs", {"id": workspace_id}
        )
        return bool(row and row["belongs"])

    async def roots_of(self, file_id: UUID) -> list[Row]:
        """As the worker: access roots a file is read at, with their workspaces."""
        return await self._transaction.all(
            "SELECT DISTINCT d.access_root_id, d.workspace_id FROM files.document d JOIN files.attachment a "
            "ON a.document_id = d.id WHERE a.file_id = %(id)s",
            {"id": file_id},
        )

    async def file_of(self, id_: UUID) -> UUID | None:
        """As the worker: which file an attachment or context file is of."""
        row = await self._transaction.one(
            "SELECT file_id FROM files.attachment WHERE id = %(id)s UNION ALL "
            "SELECT file_id FROM files.context_file WHERE id = %(id)s",
            {"id": id_},
        )
        return row["file_id"] if row else None

    async def versions(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """As the worker: versions by which the places of documents are known, of those that are."""
        rows = await self._transaction.all(
            "SELECT id, version FROM files.document WHERE id = ANY(%(ids)s)", {"ids": list(ids)}
        )
        return {row["id"]: row["version"] for row in rows}

    async def place(self, heads: Sequence[Mapping[str, Any]], *, only_known: bool) -> list[Row]:
        """Note where documents lie, as the worker; a lower version never overwrites a higher one.

        The rows that changed, `before` being the workspace they were in.
        """
        insert = "false" if only_known else "true"
        return await self._transaction.all(
            "WITH told AS (SELECT DISTINCT ON (id) * FROM unnest(%(ids)s::uuid[], %(workspaces)s::uuid[], "
            "%(roots)s::uuid[], %(versions)s::bigint[], %(trashed)s::bool[]) "
            "AS t (id, workspace_id, access_root_id, version, trashed) ORDER BY id, version DESC), "
            "known AS (SELECT d.id, d.workspace_id FROM files.document d JOIN told USING (id)), "
            f"made AS (INSERT INTO files.document AS d SELECT * FROM told "
            f"WHERE {insert} OR id IN (SELECT id FROM known) "
            "ON CONFLICT (id) DO UPDATE SET workspace_id = excluded.workspace_id, "
            "access_root_id = excluded.access_root_id, version = excluded.version, trashed = excluded.trashed "
            "WHERE d.version < excluded.version RETURNING d.id, d.workspace_id) "
            "SELECT made.id, made.workspace_id, known.workspace_id AS before FROM made LEFT JOIN known USING (id)",
            {
                "ids": [head["id"] for head in heads],
                "workspaces": [head["workspace_id"] for head in heads],
                "roots": [head["access_root_id"] for head in heads],
                "versions": [head["version"] for head in heads],
                "trashed": [bool(head["trashed"]) for head in heads],
            },
        )
