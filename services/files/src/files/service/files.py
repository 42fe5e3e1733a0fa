"""Files: listed, renamed, deleted, attached, given out."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from common import pagination
from common.access import Action, allows
from common.auth import Principal
from common.database import Row, Transaction
from common.identifiers import uuid7
from common.objects import FileStore, Served

from .. import domain
from ..errors import (
    ActionForbiddenError,
    AttachmentNotFoundError,
    DocumentElsewhereError,
    FileInUseError,
    FileNotReadyError,
    FileRejectedError,
    NoSuchFileError,
    NoTextError,
    NoThumbnailError,
    VersionStaleError,
)
from ..processing.media_types import INLINE
from ..repository import FileRepository
from .claims import Claim
from .places import Places

URL_SECONDS: Final = 30
"""Longest time somebody can still read a file after they lost the right to."""


class FileService:
    """Files of one caller, in the request's transaction."""

    def __init__(self, transaction: Transaction, places: Places, store: FileStore, principal: Principal) -> None:
        self._transaction = transaction
        self._files = FileRepository(transaction, principal)
        self._places = places
        self._store = store

    async def get(self, file_id: UUID) -> Row:
        """A file. Raises `NoSuchFileError`."""
        row = await self._files.find(file_id)
        if row is None:
            await self._places.look_again(file_id)
            row = await self._files.find(file_id)
        if row is None:
            raise NoSuchFileError
        return row

    async def list_page(self, workspace_id: UUID, *, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """A page of a workspace's files, newest first. Raises `WorkspaceNotFoundError`, `CursorInvalidError`."""
        after = pagination.decode(cursor, datetime.fromisoformat, UUID) if cursor else None
        await self._places.require_workspace(workspace_id, Action.ENTER)
        rows = await self._files.list_in(workspace_id, after=after, limit=limit)
        return pagination.page(rows, limit, "created_at", "id")

    async def rename(self, file_id: UUID, name: str, *, base: int) -> Row:
        """Give it another name. Raises `VersionStaleError`, `ActionForbiddenError`."""
        row = await self._locked(file_id)
        if row["version"] != base:
            raise VersionStaleError(version=row["version"])
        return row if row["name"] == name else await self._files.rename(row, name)

    async def delete(self, file_id: UUID, *, base: int | None) -> None:
        """Delete it, wherever it is attached. Raises `FileInUseError` if that is also where the caller may not edit."""
        row = await self._locked(file_id)
        if base is not None and row["version"] != base:
            raise VersionStaleError(version=row["version"])
        mine = [one for one in await self._files.attachments(file_id=file_id) if _edits(one["document_role"])]
        if len(mine) != await self._files.attached_in_all(file_id):
            raise FileInUseError
        await self._files.delete(row)

    async def attach(self, file_id: UUID, document_id: UUID, claim: Claim) -> Row:
        """Attach a file the caller reads to a document they edit; doing so again changes nothing.

        Of a file they may not edit, the document has a copy that shares its bytes: else whoever only reads could rename
        it, stand in the way of its deletion and give it to others. Raises `DocumentElsewhereError`,
        `FileRejectedError`.
        """
        await self.get(file_id)
        document = await self._places.document(document_id, Action.EDIT)
        await claim()
        row = await self._files.find_for_update(file_id)
        if row is None:
            raise NoSuchFileError
        if row["workspace_id"] != document["workspace_id"]:
            raise DocumentElsewhereError("the file is in another workspace: upload it there")
        found = await self._files.attachments(document_id=document_id)
        if not (row["orphaned_at"] or _edits(row["role"])):
            file_id = await self._copy(row, document_id, found)
        elif file_id not in [one["id"] for one in found]:
            await self._files.attach(file_id, document_id)
        found = await self._files.attachments(document_id=document_id)
        return next(one for one in found if one["id"] == file_id)

    async def _copy(self, row: Row, document_id: UUID, attached: Sequence[Row]) -> UUID:
        """The file's own id if it is there already, else that of its copy, made now or before."""
        for one in attached:
            if one["id"] == row["id"] or (one["sha256"], one["name"]) == (row["sha256"], row["name"]):
                found: UUID = one["id"]
                return found
        if not await self._files.same_bytes(row["workspace_id"], row["sha256"], row["size"]):
            raise FileRejectedError(problem=row["problem"])
        copy_id = uuid7()
        copy = {name: row[name] for name in ("workspace_id", "sha256", "name")} | {"id": copy_id}
        await self._files.create(copy, document_id)
        return copy_id

    async def attached(self, document_id: UUID) -> list[Row]:
        """Attachments of a document. Raises `DocumentNotFoundError`."""
        await self._places.document(document_id, Action.READ)
        return await self._files.attachments(document_id=document_id)

    async def detach(self, attachment_id: UUID) -> None:
        """Take a file off a document. Raises `AttachmentNotFoundError`, `ActionForbiddenError`."""
        found = await self._files.attachments(attachment_id=attachment_id)
        if not found:
            await self._places.look_again(await self._places.file_of(attachment_id))
            found = await self._files.attachments(attachment_id=attachment_id)
        if not found:
            raise AttachmentNotFoundError
        await self._places.document(found[0]["document_id"], Action.EDIT)
        await self._files.find_for_update(found[0]["id"])
        for attachment in await self._files.attachments(attachment_id=attachment_id):
            await self._files.detach(attachment)

    async def url(self, file_id: UUID, *, inline: bool) -> str:
        """Where the bytes are for the next seconds. Raises `FileNotReadyError`, `FileRejectedError`."""
        row = check_ready(await self.get(file_id))
        await self._transaction.release()
        return await self._store.sign_get(row["object_key"], served(row, inline=inline), URL_SECONDS)

    async def thumbnail_url(self, file_id: UUID, pixels: int) -> str:
        """Where a preview is: the smallest that is large enough, else the largest. Raises `NoThumbnailError`."""
        row = check_ready(await self.get(file_id))
        sizes = sorted(row["thumbnails"])
        if not sizes:
            raise NoThumbnailError
        await self._transaction.release()
        chosen = next((size for size in sizes if size >= pixels), sizes[-1])
        name = f"{row['name'][:200]}.webp"
        shown = Served("image/webp", domain.disposition(name, inline=True))
        return await self._store.sign_get(domain.thumbnail_key(row["object_key"], chosen), shown, URL_SECONDS)

    async def urls(self, ids: Sequence[UUID]) -> list[tuple[UUID, str | None, datetime | None]]:
        """URLs of those that are ready and the caller's to read, to be shown inline."""
        found = await self._files.of(ids)
        await self._transaction.release()
        expires_at = datetime.fromtimestamp(int(time.time()) + URL_SECONDS, UTC)
        answers: list[tuple[UUID, str | None, datetime | None]] = []
        for id_ in ids:
            row = found.get(id_)
            if row is None or row["state"] != "ready":
                answers.append((id_, None, None))
                continue
            url = await self._store.sign_get(row["object_key"], served(row, inline=True), URL_SECONDS)
            answers.append((id_, url, expires_at))
        return answers

    async def text(self, row: Row, max_tokens: int | None) -> tuple[list[Row], bool]:
        """Pages of its text up to so many tokens, the last one cut; whether there is more. Raises `NoTextError`."""
        check_ready(row)
        if row["tokens"] is None:
            raise NoTextError(problem=row["problem"] or "no_text")
        pages = await self._files.pages(row)
        return domain.within(pages, max_tokens)

    async def _locked(self, file_id: UUID) -> Row:
        seen = await self.get(file_id)
        if not _edits(seen["role"]):
            await self._places.look_again(file_id)
        row = await self._files.find_for_update(file_id)
        if row is None:
            raise NoSuchFileError
        if not _edits(row["role"]) or not await self._places.belongs_to(row["workspace_id"]):
            raise ActionForbiddenError
        return row


def check_ready(row: Row) -> Row:
    """The file, if it is given out. Raises `FileNotReadyError`, `FileRejectedError`."""
    if row["state"] == "rejected":
        raise FileRejectedError(problem=row["problem"])
    if row["state"] != "ready":
        raise FileNotReadyError
    return row


def served(row: Row, *, inline: bool) -> Served:
    """How a file is given out: what could run a script is never shown, only saved."""
    safe = row["media_type"] in INLINE
    return Served(
        domain.served_type(row["media_type"], safe=safe), domain.disposition(row["name"], inline=inline and safe)
    )


def _edits(role: str | None) -> bool:
    return allows(role, Action.EDIT)
