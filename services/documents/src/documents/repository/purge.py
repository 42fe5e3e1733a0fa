"""Statements that delete for good: documents, folders, then the bodies nothing refers to any more."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from common.access import Action, roles_allowing
from common.auth import Principal
from common.contracts.documents import DocumentPurged, FolderPurged
from common.database import Row, Transaction

from . import heads

_EDITOR: Final = "IN ('" + "', '".join(roles_allowing(Action.EDIT)) + "')"

#: Appended to statements whose `head` are deleted rows: their ids are never used again, nobody asks for access there.
_ENDED: Final = (
    "ended AS (INSERT INTO documents.purged (id) SELECT id FROM head ON CONFLICT DO NOTHING), "
    "asked AS (DELETE FROM documents.access_request WHERE node_id IN (SELECT id FROM head))"
)


def _delete_documents(which: str) -> str:
    return f"""
    WITH gone AS (
        DELETE FROM documents.document d WHERE {which} RETURNING d.*
    ), head AS (
        SELECT id, workspace_id, access_root_id, version + 1 AS version, content_version, body_sha256, size, title,
               language, kind, folder_id, position, trashed_at FROM gone
    ), unread AS (
        INSERT INTO documents.garbage (workspace_id, sha256)
        SELECT workspace_id, body_sha256 FROM gone UNION
        SELECT v.workspace_id, v.body_sha256 FROM documents.version v JOIN gone ON gone.id = v.document_id
        ON CONFLICT DO NOTHING
    ), {_ENDED}, {heads.DOCUMENT_EVENTS}
    SELECT id, access_root_id FROM head"""


def _delete_folders(which: str) -> str:
    return f"""
    WITH gone AS (
        DELETE FROM documents.folder f WHERE {which} RETURNING f.*
    ), head AS (
        SELECT id, workspace_id, access_root_id, parent_id, name, position, version + 1 AS version, trashed_at FROM gone
    ), {_ENDED}, {heads.FOLDER_EVENTS}
    SELECT id, access_root_id FROM head"""


PURGE: Final = _delete_documents(
    "d.id = ANY(%(ids)s) AND d.trashed_at IS NOT NULL AND documents.my_role(d.access_root_id) " + _EDITOR
)
PURGE_WITHIN: Final = _delete_documents(
    "d.folder_id = ANY(%(folders)s) AND d.trashed_at IS NOT NULL AND documents.my_role(d.access_root_id) " + _EDITOR
)
PURGE_FOLDERS: Final = _delete_folders(
    "f.id = ANY(%(folders)s) AND f.trashed_at IS NOT NULL AND documents.my_role(f.access_root_id) " + _EDITOR
)
# An expired row is chosen by the worker, which sees all; whoever restores it at the same moment is waited for.
EXPIRE: Final = _delete_documents(
    "d.trashed_at < now() - make_interval(days => %(days)s) AND d.id IN (SELECT e.id FROM documents.document e "
    "WHERE e.trashed_at < now() - make_interval(days => %(days)s) ORDER BY e.trashed_at LIMIT %(most)s)"
)
EXPIRE_FOLDERS: Final = _delete_folders(
    "f.trashed_at < now() - make_interval(days => %(days)s) AND f.id IN (SELECT e.id FROM documents.folder e "
    "WHERE e.trashed_at < now() - make_interval(days => %(days)s) "
    "AND NOT EXISTS (SELECT 1 FROM documents.folder c WHERE c.parent_id = e.id) "
    "AND NOT EXISTS (SELECT 1 FROM documents.document c WHERE c.folder_id = e.id) ORDER BY e.trashed_at LIMIT %(most)s)"
)

# With it, no statement that found a body and is about to refer to it is under way: each takes its locks when it begins.
LOCK_BODIES: Final = "LOCK TABLE documents.body IN SHARE ROW EXCLUSIVE MODE"
TAKE: Final = """
    WITH looked AS (
        SELECT g.workspace_id, g.sha256, EXISTS (SELECT 1 FROM documents.version v WHERE v.workspace_id = g.workspace_id
            AND v.body_sha256 = g.sha256) AS wanted
        FROM documents.garbage g WHERE NOT g.taken LIMIT %(most)s
    ), gone AS (
        DELETE FROM documents.body b USING looked l
        WHERE b.workspace_id = l.workspace_id AND b.sha256 = l.sha256 AND NOT l.wanted
        RETURNING b.workspace_id, b.sha256, b.data IS NULL AS large
    ), taken AS (
        UPDATE documents.garbage g SET taken = true FROM gone
        WHERE g.workspace_id = gone.workspace_id AND g.sha256 = gone.sha256 AND gone.large
    ), settled AS (
        DELETE FROM documents.garbage g USING looked l
        WHERE g.workspace_id = l.workspace_id AND g.sha256 = l.sha256 AND NOT EXISTS (SELECT 1 FROM gone
            WHERE gone.workspace_id = g.workspace_id AND gone.sha256 = g.sha256 AND gone.large)
    )
    SELECT count(*) AS looked FROM looked"""


class PurgeRepository:
    """Deletes for good: for a user what is theirs to delete, as the worker what nobody wants any more."""

    def __init__(self, transaction: Transaction, principal: Principal | None) -> None:
        self._transaction = transaction
        self._principal = principal

    async def documents(self, ids: Sequence[UUID]) -> list[Row]:
        """Delete documents in the trash; `id` and `access_root_id` of those that were."""
        return await self._run(PURGE, DocumentPurged, {"ids": list(ids)})

    async def contents(self, folders: Sequence[UUID]) -> list[Row]:
        """What the caller sees in these folders: the kinds of `role` they have there, and whether it is `trashed`."""
        return await self._transaction.all(
            """
            SELECT DISTINCT documents.my_role(root) AS role, trashed FROM (
                SELECT f.access_root_id, f.trashed_at IS NOT NULL FROM documents.folder f WHERE f.id = ANY(%(folders)s)
                UNION
                SELECT d.access_root_id, d.trashed_at IS NOT NULL FROM documents.document d
                WHERE d.folder_id = ANY(%(folders)s)
            ) AS found (root, trashed)""",
            {"folders": list(folders)},
        )

    async def documents_within(self, folders: Sequence[UUID]) -> list[Row]:
        """Delete the documents in these folders that are in the trash."""
        return await self._run(PURGE_WITHIN, DocumentPurged, {"folders": list(folders)})

    async def folders(self, folders: Sequence[UUID]) -> list[Row]:
        """Delete folders in the trash that nothing lies in."""
        return await self._run(PURGE_FOLDERS, FolderPurged, {"folders": list(folders)})

    async def expire(self, days: int, most: int) -> list[Row]:
        """As the worker: delete documents that have lain in the trash for `days`."""
        return await self._run(EXPIRE, DocumentPurged, {"days": days, "most": most})

    async def expire_folders(self, days: int, most: int) -> list[Row]:
        """As the worker: delete folders that have, once nothing lies in them."""
        return await self._run(EXPIRE_FOLDERS, FolderPurged, {"days": days, "most": most})

    async def _run(self, statement: str, event: Any, params: dict[str, Any]) -> list[Row]:
        told = heads.told(self._transaction, self._principal, event, {})
        return await self._transaction.all(statement, params | told)

    async def any_garbage(self) -> bool:
        """As the worker: whether there may be bodies nothing refers to."""
        row = await self._transaction.one("SELECT EXISTS (SELECT 1 FROM documents.garbage WHERE NOT taken) AS found")
        return bool(row and row["found"])

    async def take(self, most: int) -> int:
        """As the worker: delete bodies nothing refers to, large ones to be removed from the store; how many looked at.

        Raises `DatabaseUnavailableError` if writers of contents did not leave it a moment.
        """
        await self._transaction.execute("SET LOCAL lock_timeout = '200ms'")
        await self._transaction.execute(LOCK_BODIES)
        row = await self._transaction.one(TAKE, {"most": most})
        return int(row["looked"]) if row else 0

    async def taken(self, most: int) -> list[Row]:
        """As the worker: `workspace_id` and `sha256` of objects to be removed."""
        return await self._transaction.all(
            "SELECT workspace_id, sha256 FROM documents.garbage WHERE taken LIMIT %(most)s", {"most": most}
        )

    async def removed(self, rows: Sequence[Row]) -> None:
        """As the worker: these objects are gone."""
        await self._transaction.execute(
            "DELETE FROM documents.garbage g USING unnest(%(workspaces)s::uuid[], %(hashes)s::text[]) AS t (w, sha) "
            "WHERE g.workspace_id = t.w AND g.sha256 = t.sha AND g.taken",
            {"workspaces": [row["workspace_id"] for row in rows], "hashes": [row["sha256"] for row in rows]},
        )
