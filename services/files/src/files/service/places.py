"""Where a file belongs, and what the caller may do there."""

from uuid import UUID

from common.access import AccessProjection, Action, allows
from common.auth import Principal
from common.client import PeerNotFoundError
from common.database import Row, Transaction

from ..errors import ActionForbiddenError, DocumentElsewhereError, DocumentNotFoundError, WorkspaceNotFoundError
from ..repository import DocumentRepository
from .placements import Placements


class Places:
    """Documents and workspaces as one caller may use them; what is not known here yet is asked for."""

    def __init__(
        self,
        transaction: Transaction,
        placements: Placements,
        access: AccessProjection,
        principal: Principal,
    ) -> None:
        self._transaction = transaction
        self._documents = DocumentRepository(transaction)
        self._placements = placements
        self._access = access
        self._principal = principal

    async def require(self, workspace_id: UUID, document_id: UUID | None, action: Action) -> None:
        """The caller may do this where a file is meant to be: at a document of the workspace, or in it.

        Raises `DocumentNotFoundError`, `DocumentElsewhereError`, `WorkspaceNotFoundError`, `ActionForbiddenError`.
        """
        if document_id is None:
            await self.require_workspace(workspace_id, action)
            return
        found = await self.document(document_id, action)
        if found["workspace_id"] != workspace_id:
            raise DocumentElsewhereError

    async def document(self, document_id: UUID, action: Action) -> Row:
        """A document the caller may do this to. Raises `DocumentNotFoundError`, `ActionForbiddenError`."""
        row = await self._documents.find(document_id)
        if row is None or not allows(row["role"], action):
            await self._transaction.release()
            await self._learn(document_id)
            row = await self._documents.find(document_id)
        if row is None or row["role"] is None:
            raise DocumentNotFoundError
        if not allows(row["role"], action):
            raise ActionForbiddenError
        return row

    async def belongs_to(self, workspace_id: UUID) -> bool:
        """Whether the caller is a member or guest of a workspace."""
        return await self._documents.belongs_to(workspace_id)

    async def look_again(self, file_id: UUID | None = None) -> None:
        """After a miss: the caller may have joined a moment ago, or been given a role where a file is attached."""
        await self._transaction.release()
        await self._access.learn(self._principal.user_id)
        if file_id:
            for root_id, workspace_id in await self._placements.roots_of(file_id):
                await self._access.learn_root(root_id, workspace_id)

    async def file_of(self, attachment_id: UUID) -> UUID | None:
        """Which file an attachment is of, whoever may know of it."""
        return await self._placements.file_of(attachment_id)

    async def require_workspace(self, workspace_id: UUID, action: Action) -> None:
        """The caller may do this in a workspace. Raises `WorkspaceNotFoundError`, `ActionForbiddenError`."""
        for attempt in range(2):
            role = await self._documents.role_at(workspace_id)
            if allows(role, action) or (action is Action.ENTER and await self._documents.belongs_to(workspace_id)):
                return
            if not attempt:
                await self.look_again()
        if await self._documents.belongs_to(workspace_id):
            raise ActionForbiddenError
        raise WorkspaceNotFoundError

    async def _learn(self, document_id: UUID) -> None:
        """Ask for whatever might be newer than what is known here."""
        try:
            head = await self._placements.learn(document_id)
        except PeerNotFoundError:
            raise DocumentNotFoundError from None
        await self._access.learn(self._principal.user_id)
        await self._access.learn_root(head["access_root_id"], head["workspace_id"])
