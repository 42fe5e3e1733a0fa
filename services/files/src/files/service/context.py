"""Context files: what the AI reads along, for a user, a document or a workspace."""

from typing import Any
from uuid import UUID

from common import pagination
from common.access import Action
from common.auth import Principal
from common.database import Row, Transaction
from common.identifiers import uuid7

from ..errors import ActionForbiddenError, ContextFileNotFoundError, ContextScopeError
from ..repository import ContextRepository, FileRepository
from ..schemas import ContextFileCreate
from .claims import Claim
from .files import FileService
from .places import Places


class ContextService:
    """Context files of one caller, in the request's transaction; each row has its `file`."""

    def __init__(self, transaction: Transaction, files: FileService, places: Places, principal: Principal) -> None:
        self._contexts = ContextRepository(transaction, principal)
        self._rows = FileRepository(transaction, principal)
        self._files = files
        self._places = places
        self._principal = principal

    async def create(self, body: ContextFileCreate, claim: Claim) -> Row:
        """Let the AI read a file along. Raises `ContextScopeError`, `NoSuchFileError`, `ActionForbiddenError`."""
        if (body.scope == "document") != (body.document_id is not None):
            raise ContextScopeError
        file = await self._files.get(body.file_id)
        if body.document_id:
            document = await self._places.document(body.document_id, Action.EDIT)
            if document["workspace_id"] != file["workspace_id"]:
                raise ContextScopeError("the document is in another workspace than the file")
        elif body.scope == "workspace":
            await self._places.require_workspace(file["workspace_id"], Action.EDIT)
        await claim()
        context_id = uuid7()
        await self._contexts.create(
            {
                "id": context_id, "file_id": file["id"], "workspace_id": file["workspace_id"],
                "document_id": body.document_id, "user_id": self._principal.user_id if body.scope == "user" else None,
            }
        )  # fmt: skip
        return await self.get(context_id)

    async def get(self, context_id: UUID) -> Row:
        """A context file. Raises `ContextFileNotFoundError`."""
        row = await self._contexts.find(context_id)
        if row is None:
            await self._places.look_again(await self._places.file_of(context_id))
            row = await self._contexts.find(context_id)
        file = row and await self._rows.find(row["file_id"])
        if not row or not file:
            raise ContextFileNotFoundError
        return {**row, "file": file}

    async def list_page(
        self, workspace_id: UUID, document_id: UUID | None, *, cursor: str | None, limit: int
    ) -> tuple[list[Row], str | None]:
        """A page of a workspace's, or of what goes with a document. Raises `WorkspaceNotFoundError`."""
        after = pagination.decode(cursor, UUID) if cursor else None
        await self._places.require_workspace(workspace_id, Action.ENTER)
        rows = await self._contexts.list_in(workspace_id, document_id, after=after, limit=limit)
        items, next_cursor = pagination.page(rows, limit, "id")
        files = await self._rows.of([row["file_id"] for row in items])
        return [{**row, "file": files[row["file_id"]]} for row in items if row["file_id"] in files], next_cursor

    async def delete(self, context_id: UUID) -> None:
        """The AI reads it no more; the file stays. Raises `ContextFileNotFoundError`, `ActionForbiddenError`."""
        row = await self.get(context_id)
        if row["document_id"]:
            await self._places.document(row["document_id"], Action.EDIT)
        elif row["user_id"] is None:
            await self._places.require_workspace(row["workspace_id"], Action.EDIT)
        elif row["user_id"] != self._principal.user_id:
            raise ActionForbiddenError
        await self._contexts.delete(context_id)

    async def text(self, context_id: UUID, max_tokens: int | None) -> tuple[Row, list[dict[str, Any]], bool]:
        """The file, pages of its text up to so many tokens, and whether there is more. Raises `NoTextError`."""
        row = await self.get(context_id)
        pages, more = await self._files.text(row["file"], max_tokens)
        return row["file"], pages, more
