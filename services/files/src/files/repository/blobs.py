"""Bytes and what was found in them, as the worker sees them: all."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from common.contracts.files import (
    AttachmentAdded,
    AttachmentRemoved,
    FileDeleted,
    FileExamined,
    FileState,
    FileUpdated,
)
from common.database import Row, Transaction
from common.messaging.outbox import record

from .files import SCHEMA, told

_TOLD: Final = "f.id, f.workspace_id, f.name, f.version, f.sha256, b.size, b.media_type, b.state, b.problem"


class BlobRepository:
    """What is done to bytes, and to files for which no user asked."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def due(self, limit: int, seconds: int) -> list[Row]:
        """Bytes to be examined, nobody else's for so long."""
        return await self.transaction.all(
            "UPDATE files.blob b SET due_at = now() + make_interval(secs => %(seconds)s), attempts = attempts + 1 "
            "FROM (SELECT workspace_id, sha256 FROM files.blob WHERE due_at <= now() ORDER BY due_at LIMIT %(n)s "
            "FOR UPDATE SKIP LOCKED) d WHERE (b.workspace_id, b.sha256) = (d.workspace_id, d.sha256) "
            "RETURNING b.workspace_id, b.sha256, b.object_key, b.size, b.media_type, b.attempts, (SELECT f.name "
            "FROM files.file f WHERE (f.workspace_id, f.sha256) = (b.workspace_id, b.sha256) LIMIT 1) AS name",
            {"n": limit, "seconds": seconds},
        )

    async def renew(self, row: Row, seconds: int) -> None:
        """Whoever examines it goes on, for so long at least."""
        await self.transaction.execute(
            "UPDATE files.blob SET due_at = now() + make_interval(secs => %(seconds)s) "
            "WHERE workspace_id = %(workspace_id)s AND sha256 = %(sha256)s AND due_at IS NOT NULL",
            {**row, "seconds": seconds},
        )

    async def put_off(self, row: Row, seconds: int) -> None:
        """Examine it later."""
        await self.transaction.execute(
            "UPDATE files.blob SET due_at = now() + make_interval(secs => %(seconds)s) "
            "WHERE workspace_id = %(workspace_id)s AND sha256 = %(sha256)s",
            {**row, "seconds": seconds},
        )

    async def examined(self, row: Row, facts: Mapping[str, Any], pages: Sequence[Mapping[str, Any]]) -> None:
        """Keep what was found, unless the bytes were collected meanwhile; the files that have them say so."""
        # Files before bytes, as whoever deletes a file: else the two could wait for each other.
        await self.transaction.execute(
            "SELECT FROM files.file WHERE workspace_id = %(workspace_id)s AND sha256 = %(sha256)s ORDER BY id "
            "FOR UPDATE",
            row,
        )
        kept = await self.transaction.execute(
            "UPDATE files.blob SET state = %(state)s, problem = %(problem)s, media_type = %(media_type)s, "
            "width = %(width)s, height = %(height)s, pages = %(pages)s, tokens = %(tokens)s, "
            "thumbnails = %(thumbnails)s::integer[], due_at = NULL "
            "WHERE workspace_id = %(workspace_id)s AND sha256 = %(sha256)s",
            {**row, **facts},
        )
        if not kept.rowcount:
            return
        await self.transaction.execute(
            "DELETE FROM files.page WHERE workspace_id = %(workspace_id)s AND sha256 = %(sha256)s", row
        )
        await self.transaction.execute(
            "INSERT INTO files.page (workspace_id, sha256, number, content, tokens) SELECT %(workspace_id)s, "
            "%(sha256)s, * FROM unnest(%(numbers)s::integer[], %(texts)s::text[], %(tokens)s::integer[])",
            {
                **row,
                "numbers": [page["number"] for page in pages],
                "texts": [page["text"] for page in pages],
                "tokens": [page["tokens"] for page in pages],
            },
        )
        files = await self.transaction.all(
            "UPDATE files.file f SET version = f.version + 1, updated_at = now() FROM files.blob b "
            "WHERE (f.workspace_id, f.sha256) = (%(workspace_id)s, %(sha256)s) "
            f"AND (b.workspace_id, b.sha256) = (f.workspace_id, f.sha256) RETURNING {_TOLD}",
            row,
        )
        for file in files:
            await self._tell(FileExamined, file)

    async def with_attachments(self, documents: Sequence[UUID]) -> set[UUID]:
        """Those of some documents that something is attached to."""
        rows = await self.transaction.all(
            "SELECT DISTINCT document_id FROM files.attachment WHERE document_id = ANY(%(ids)s::uuid[])",
            {"ids": list(documents)},
        )
        return {row["document_id"] for row in rows}

    async def copy_attachments(self, source: UUID, copy: UUID, user_id: UUID) -> None:
        """What is attached to a document is attached to its copy as well."""
        made = await self.transaction.all(
            "INSERT INTO files.attachment (id, file_id, document_id, created_by) "
            "SELECT gen_random_uuid(), a.file_id, %(copy)s, %(user)s FROM files.attachment a "
            "WHERE a.document_id = %(source)s ON CONFLICT DO NOTHING "
            "RETURNING id AS attachment_id, file_id, document_id",
            {"source": source, "copy": copy, "user": user_id},
        )
        for row in made:
            place = await self._place(row["document_id"])
            await record(
                self.transaction, SCHEMA, AttachmentAdded(**row, **place), aggregate_id=row["attachment_id"],
                aggregate_version=1, principal=None,
            )  # fmt: skip

    async def purge(self, documents: Sequence[UUID]) -> None:
        """Documents were deleted for good: so are the files attached to nothing else, and what was to be read along."""
        removed = await self.transaction.all(
            "DELETE FROM files.attachment a USING files.document d WHERE a.document_id = ANY(%(ids)s) "
            "AND d.id = a.document_id "
            "RETURNING a.id AS attachment_id, a.file_id, a.document_id, d.workspace_id, d.access_root_id",
            {"ids": list(documents)},
        )
        for row in removed:
            await record(
                self.transaction, SCHEMA, AttachmentRemoved(**row), aggregate_id=row["attachment_id"],
                aggregate_version=2, principal=None,
            )  # fmt: skip
        deleted = await self.transaction.all(
            "DELETE FROM files.file f USING files.blob b WHERE f.id = ANY(%(ids)s) AND NOT f.loose "
            "AND NOT EXISTS (SELECT 1 FROM files.attachment o WHERE o.file_id = f.id) "
            f"AND (b.workspace_id, b.sha256) = (f.workspace_id, f.sha256) RETURNING {_TOLD}",
            {"ids": [row["file_id"] for row in removed]},
        )
        for row in deleted:
            await self._tell(FileDeleted, {**row, "version": row["version"] + 1})
        await self.transaction.execute("DELETE FROM files.document WHERE id = ANY(%(ids)s)", {"ids": list(documents)})

    async def follow(self, document_id: UUID, workspace_id: UUID) -> None:
        """A document went to another workspace: files attached only there go along, and count there."""
        files = await self.transaction.all(
            "SELECT f.id, f.workspace_id, f.sha256 FROM files.file f JOIN files.attachment a ON a.file_id = f.id "
            "WHERE a.document_id = %(document)s AND NOT f.loose AND f.workspace_id <> %(workspace)s "
            "AND NOT EXISTS (SELECT 1 FROM files.attachment o JOIN files.document d ON d.id = o.document_id "
            "WHERE o.file_id = f.id AND d.workspace_id <> %(workspace)s) FOR UPDATE OF f",
            {"document": document_id, "workspace": workspace_id},
        )
        for file in files:
            await self._share(file, workspace_id)
            moved = await self.transaction.all(
                "UPDATE files.file f SET workspace_id = %(to)s, version = f.version + 1, updated_at = now() "
                "FROM files.blob b WHERE f.id = %(id)s AND (b.workspace_id, b.sha256) = (%(to)s, f.sha256) "
                f"RETURNING {_TOLD}",
                {"id": file["id"], "to": workspace_id},
            )
            for row in moved:
                await self._tell(FileUpdated, row)

    async def _share(self, file: Row, workspace_id: UUID) -> None:
        """The bytes count in the other workspace too, unless it has them; both have the same object."""
        columns = "object_key, size, media_type, state, problem, width, height, pages, tokens, thumbnails, due_at"
        made = await self.transaction.one(
            f"INSERT INTO files.blob (workspace_id, sha256, {columns}) SELECT %(to)s, sha256, {columns} "
            "FROM files.blob WHERE workspace_id = %(workspace_id)s AND sha256 = %(sha256)s "
            "ON CONFLICT DO NOTHING RETURNING size",
            {**file, "to": workspace_id},
        )
        if not made:
            return
        await self.transaction.execute(
            "INSERT INTO files.page (workspace_id, sha256, number, content, tokens) SELECT %(to)s, sha256, number, "
            "content, tokens FROM files.page WHERE workspace_id = %(workspace_id)s AND sha256 = %(sha256)s",
            {**file, "to": workspace_id},
        )
        await self.transaction.execute(
            "INSERT INTO files.quota (workspace_id, used) VALUES (%(to)s, %(size)s) "
            "ON CONFLICT (workspace_id) DO UPDATE SET used = files.quota.used + excluded.used",
            {"to": workspace_id, "size": made["size"]},
        )

    async def drop_orphans(self, hours: int, limit: int) -> int:
        """Delete files that have been attached to nothing for so long."""
        rows = await self.transaction.all(
            f"DELETE FROM files.file f USING files.blob b WHERE f.id IN (SELECT id FROM files.file "
            "WHERE orphaned_at < now() - make_interval(hours => %(hours)s) ORDER BY orphaned_at LIMIT %(n)s "
            "FOR UPDATE SKIP LOCKED) AND (b.workspace_id, b.sha256) = (f.workspace_id, f.sha256) "
            f"RETURNING {_TOLD}",
            {"hours": hours, "n": limit},
        )
        for row in rows:
            await self._tell(FileDeleted, {**row, "version": row["version"] + 1})
        return len(rows)

    async def drop_unused(self, hours: int, limit: int) -> None:
        """Forget bytes no file has had for so long; their object is garbage if no other workspace has it."""
        await self.transaction.execute(
            "WITH gone AS (DELETE FROM files.blob b WHERE (b.workspace_id, b.sha256) IN (SELECT workspace_id, sha256 "
            "FROM files.blob WHERE unused_at < now() - make_interval(hours => %(hours)s) ORDER BY unused_at "
            "LIMIT %(n)s FOR UPDATE SKIP LOCKED) AND NOT EXISTS (SELECT 1 FROM files.file f "
            "WHERE (f.workspace_id, f.sha256) = (b.workspace_id, b.sha256)) "
            "RETURNING b.workspace_id, b.sha256, b.object_key, b.size, b.thumbnails), "
            "freed AS (UPDATE files.quota q SET used = q.used - s.size FROM (SELECT workspace_id, sum(size) AS size "
            "FROM gone GROUP BY 1) s WHERE q.workspace_id = s.workspace_id) "
            "INSERT INTO files.garbage (object_key, thumbnails, due_at) "
            "SELECT DISTINCT ON (object_key) object_key, thumbnails, now() FROM gone "
            "WHERE NOT EXISTS (SELECT 1 FROM files.blob o WHERE o.object_key = gone.object_key "
            "AND (o.workspace_id, o.sha256) NOT IN (SELECT workspace_id, sha256 FROM gone)) ON CONFLICT DO NOTHING",
            {"hours": hours, "n": limit},
        )

    async def garbage(self, limit: int) -> list[Row]:
        """Objects to be removed for good."""
        return await self.transaction.all(
            "SELECT object_key, store_upload, thumbnails FROM files.garbage WHERE due_at <= now() ORDER BY due_at "
            "LIMIT %(n)s",
            {"n": limit},
        )

    async def removed(self, keys: Sequence[str]) -> None:
        """These objects are no more."""
        await self.transaction.execute(
            "DELETE FROM files.garbage WHERE object_key = ANY(%(keys)s)", {"keys": list(keys)}
        )

    async def _place(self, document_id: UUID) -> Row:
        row = await self.transaction.one(
            "SELECT workspace_id, access_root_id FROM files.document WHERE id = %(id)s", {"id": document_id}
        )
        return row or {}

    async def _tell(self, event: type[FileState], row: Row) -> None:
        await record(
            self.transaction, SCHEMA, event(**told(row)), aggregate_id=row["id"], aggregate_version=row["version"],
            principal=None,
        )  # fmt: skip
