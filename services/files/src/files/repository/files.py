"""Files, where they are attached, and the bytes they share."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from psycopg import errors as pg

from common.access import strongest
from common.auth import Principal
from common.contracts.files import AttachmentAdded, AttachmentRemoved, FileCreated, FileDeleted, FileState, FileUpdated
from common.database import Row, Transaction
from common.identifiers import uuid7
from common.messaging.outbox import record

from ..errors import DocumentNotFoundError, FileIdTakenError

SCHEMA: Final = "files"
ORPHAN_ROLE: Final = "editor"
"""What whoever brought a file may do with it while it is attached to nothing."""
_BLOB: Final = (
    "b.object_key, b.size, b.media_type, b.state, b.problem, b.width, b.height, b.pages, b.tokens, b.thumbnails"
)
_FILE: Final = (
    "f.id, f.workspace_id, f.sha256, f.name, f.loose, f.owner_id, f.version, f.orphaned_at, f.created_at, "
    f"f.updated_at, {_BLOB}"
)
_ROLES: Final = (
    "CASE WHEN f.loose THEN ARRAY[files.my_role(f.workspace_id)] ELSE '{}' END || array(SELECT DISTINCT "
    "files.my_role(d.access_root_id) FROM files.attachment x JOIN files.document d ON d.id = x.document_id "
    "WHERE x.file_id = f.id) AS roles"
)
_FROM: Final = "files.file f JOIN files.blob b ON b.workspace_id = f.workspace_id AND b.sha256 = f.sha256"


class FileRepository:
    """Files as one user may see and change them; each row has the caller's strongest `role`."""

    def __init__(self, transaction: Transaction, principal: Principal) -> None:
        self.transaction = transaction
        self._principal = principal

    async def find(self, file_id: UUID) -> Row | None:
        """A file, with its bytes' facts."""
        return _with_role(
            await self.transaction.one(f"SELECT {_FILE}, {_ROLES} FROM {_FROM} WHERE f.id = %(id)s", {"id": file_id})
        )

    async def find_for_update(self, file_id: UUID) -> Row | None:
        """The same, locked until the transaction ends."""
        locked = await self.transaction.one("SELECT id FROM files.file WHERE id = %(id)s FOR UPDATE", {"id": file_id})
        return await self.find(file_id) if locked else None

    async def of(self, ids: Sequence[UUID]) -> dict[UUID, Row]:
        """Those of some files that the caller may read."""
        rows = await self.transaction.all(
            f"SELECT {_FILE}, {_ROLES} FROM {_FROM} WHERE f.id = ANY(%(ids)s::uuid[])", {"ids": list(ids)}
        )
        return {row["id"]: row for row in map(_with_role, rows) if row}

    async def list_in(self, workspace_id: UUID, *, after: Sequence[Any] | None, limit: int) -> list[Row]:
        """One more than `limit` of a workspace's files, newest first, behind (created_at, id)."""
        created, last = after or (None, None)
        rows = await self.transaction.all(
            f"SELECT {_FILE}, {_ROLES} FROM {_FROM} WHERE f.workspace_id = %(workspace)s AND (%(last)s::uuid IS NULL "
            "OR (f.created_at, f.id) < (%(created)s::timestamptz, %(last)s::uuid)) "
            "ORDER BY f.created_at DESC, f.id DESC LIMIT %(limit)s + 1",
            {"workspace": workspace_id, "created": created, "last": last, "limit": limit},
        )
        return [row for row in map(_with_role, rows) if row]

    async def same_bytes(self, workspace_id: UUID, sha256: bytes, size: int) -> bool:
        """Whether the caller may read a good file of the workspace with these bytes, which then stay for now."""
        row = await self.transaction.one(
            f"SELECT files.hold_bytes(f.workspace_id, f.sha256) AS held FROM {_FROM} "
            "WHERE f.workspace_id = %(workspace)s AND f.sha256 = %(sha256)s AND b.size = %(size)s "
            "AND b.state <> 'rejected' LIMIT 1",
            {"workspace": workspace_id, "sha256": sha256, "size": size},
        )
        return row is not None and bool(row["held"])

    async def keep_bytes(self, workspace_id: UUID, sha256: bytes, blob: Mapping[str, Any]) -> bool:
        """Note verified bytes, to be examined; False if the workspace has them already, under another key.

        Either way nobody collects them before the transaction ends.
        """
        row = {"workspace": workspace_id, "sha256": sha256, **blob}
        while not await self._note_bytes(row):
            if await self._hold_bytes(row):
                return False
        await self.transaction.execute(
            "UPDATE files.quota SET used = used + %(size)s WHERE workspace_id = %(workspace)s", row
        )
        return True

    async def _note_bytes(self, row: Row) -> bool:
        cursor = await self.transaction.execute(
            "INSERT INTO files.blob (workspace_id, sha256, object_key, size, media_type, state, due_at) "
            "VALUES (%(workspace)s, %(sha256)s, %(object_key)s, %(size)s, %(media_type)s, 'scanning', now()) "
            "ON CONFLICT DO NOTHING",
            row,
        )
        return cursor.rowcount > 0

    async def _hold_bytes(self, row: Row) -> bool:
        """False if they were collected a moment ago."""
        found = await self.transaction.one("SELECT files.hold_bytes(%(workspace)s, %(sha256)s) AS held", row)
        return found is not None and bool(found["held"])

    async def create(self, file: Mapping[str, Any], document_id: UUID | None) -> Row:
        """Insert a file whose bytes are kept, attached if it is for a document. Raises `FileIdTakenError`."""
        try:
            await self.transaction.execute(
                "INSERT INTO files.file (id, workspace_id, sha256, name, loose, owner_id) VALUES (%(id)s, "
                "%(workspace_id)s, %(sha256)s, %(name)s, %(loose)s, %(owner)s)",
                {**file, "loose": document_id is None, "owner": self._principal.user_id},
            )
        except pg.UniqueViolation as error:
            raise FileIdTakenError from error
        if document_id:
            await self._attach(uuid7(), file["id"], document_id)
        row = await self.find(file["id"])
        assert row is not None  # noqa: S101 - whoever may create it may read it
        await self._tell(FileCreated, row)
        return row

    async def rename(self, row: Row, name: str) -> Row:
        """Give a locked file another name."""
        await self.transaction.execute(
            "UPDATE files.file SET name = %(name)s, version = version + 1, updated_at = now() WHERE id = %(id)s",
            {"id": row["id"], "name": name},
        )
        row = {**row, **(await self.find(row["id"]) or {})}
        await self._tell(FileUpdated, row)
        return row

    async def delete(self, row: Row) -> None:
        """Delete a locked file, wherever it is attached."""
        for attachment in await self.attachments(file_id=row["id"]):
            await self.detach(attachment)
        await self._tell(FileDeleted, {**row, "version": row["version"] + 1})
        await self.transaction.execute("DELETE FROM files.file WHERE id = %(id)s", {"id": row["id"]})

    async def attached_in_all(self, file_id: UUID) -> int:
        """How often it is attached, also where the caller does not see it."""
        row = await self.transaction.one("SELECT files.attachments_of(%(id)s) AS count", {"id": file_id})
        return int(row["count"]) if row else 0

    async def attachments(self, *, document_id: UUID | None = None, file_id: UUID | None = None,
                          attachment_id: UUID | None = None) -> list[Row]:  # fmt: skip
        """Attachments of a document or a file, or one, with the file and the role where the document lies."""
        rows = await self.transaction.all(
            f"SELECT {_FILE}, {_ROLES}, a.id AS attachment_id, a.document_id, a.created_by AS attached_by, "
            "a.created_at AS attached_at, p.access_root_id, files.my_role(p.access_root_id) AS document_role "
            f"FROM {_FROM} JOIN files.attachment a ON a.file_id = f.id JOIN files.document p ON p.id = a.document_id "
            "WHERE (a.document_id = %(document)s OR a.file_id = %(file)s OR a.id = %(attachment)s) "
            "ORDER BY a.created_at, a.id",
            {"document": document_id, "file": file_id, "attachment": attachment_id},
        )
        return [row for row in map(_with_role, rows) if row]

    async def attach(self, file_id: UUID, document_id: UUID) -> bool:
        """Attach a locked file; False if it was so already."""
        if not await self._attach(uuid7(), file_id, document_id):
            return False
        await self.transaction.execute(
            "UPDATE files.file SET orphaned_at = NULL WHERE id = %(id)s AND orphaned_at IS NOT NULL", {"id": file_id}
        )
        return True

    async def detach(self, attachment: Row) -> None:
        """Take a locked file off a document; a file that is attached to nothing then waits to be collected."""
        # Before the attachment goes: by it the caller may see the file.
        await self.transaction.execute(
            "UPDATE files.file SET orphaned_at = now() WHERE id = %(file)s AND NOT loose "
            "AND files.attachments_of(id) = 1",
            {"file": attachment["id"]},
        )
        await self.transaction.execute(
            "DELETE FROM files.attachment WHERE id = %(id)s", {"id": attachment["attachment_id"]}
        )
        await record(
            self.transaction, SCHEMA, AttachmentRemoved(**_attachment(attachment)),
            aggregate_id=attachment["attachment_id"], aggregate_version=2, principal=self._principal,
        )  # fmt: skip

    async def pages(self, row: Row) -> list[Row]:
        """Text of a file, page by page."""
        return await self.transaction.all(
            "SELECT number, content, tokens FROM files.page WHERE workspace_id = %(workspace)s AND sha256 = %(sha256)s "
            "ORDER BY number",
            {"workspace": row["workspace_id"], "sha256": row["sha256"]},
        )

    async def _attach(self, attachment_id: UUID, file_id: UUID, document_id: UUID) -> bool:
        try:
            cursor = await self.transaction.execute(
                "INSERT INTO files.attachment (id, file_id, document_id, created_by) "
                "VALUES (%(id)s, %(file)s, %(document)s, %(user)s) ON CONFLICT DO NOTHING",
                {"id": attachment_id, "file": file_id, "document": document_id, "user": self._principal.user_id},
            )
        except pg.ForeignKeyViolation as error:  # deleted for good a moment ago
            raise DocumentNotFoundError from error
        if not cursor.rowcount:
            return False
        [row] = await self.attachments(attachment_id=attachment_id)
        await record(
            self.transaction, SCHEMA, AttachmentAdded(**_attachment(row)), aggregate_id=attachment_id,
            aggregate_version=1, principal=self._principal,
        )  # fmt: skip
        return True

    async def _tell(self, event: type[FileState], row: Row) -> None:
        await record(
            self.transaction, SCHEMA, event(**told(row)), aggregate_id=row["id"], aggregate_version=row["version"],
            principal=self._principal,
        )  # fmt: skip


def told(row: Row) -> dict[str, Any]:
    """What an event says of a file."""
    same = ("workspace_id", "name", "version", "size", "media_type", "state", "problem")
    return {**{name: row[name] for name in same}, "file_id": row["id"], "content_hash": bytes(row["sha256"]).hex()}


def _attachment(row: Row) -> dict[str, Any]:
    same = ("attachment_id", "document_id", "workspace_id", "access_root_id")
    return {**{name: row[name] for name in same}, "file_id": row["id"]}


def _with_role(row: Row | None) -> Row | None:
    if row is None:
        return None
    role = strongest(filter(None, row.pop("roles"))) or ORPHAN_ROLE
    return {**row, "role": role}
