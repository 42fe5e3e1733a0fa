"""Deleting for good what is in the trash: when somebody says so, and after some weeks there."""

from collections.abc import Sequence
from uuid import UUID

from common.access import Action, allows
from common.database import Row

from ..errors import ContentsProtectedError, DocumentNotTrashedError, FolderNotTrashedError
from ..repository import BranchRepository, PurgeRepository, RootRepository
from .checks import check_unchanged, check_unmoved
from .documents import DocumentService
from .folders import FolderService
from .placing import Placer


class PurgeService:
    """Deletes for good on behalf of one caller in one request; files, live rooms and devices follow by event."""

    def __init__(
        self,
        repository: PurgeRepository,
        branches: BranchRepository,
        roots: RootRepository,
        documents: DocumentService,
        folders: FolderService,
        placer: Placer,
    ) -> None:
        self._repository = repository
        self._branches = branches
        self._roots = roots
        self._documents = documents
        self._folders = folders
        self._placer = placer

    async def document(self, document_id: UUID, *, base: int | None) -> None:
        """Delete a document with all its versions, as who manages it or made it.

        Raises `DocumentNotTrashedError`, `DocumentNotFoundError`, `ActionForbiddenError`, `VersionStaleError`.
        """
        seen = await self._documents.require(document_id, Action.EDIT)
        await self._placer.lock(seen["workspace_id"])
        head = check_unmoved(await self._documents.managed_for_update(document_id), seen)
        check_unchanged(head, base)
        if not head["trashed_at"]:
            raise DocumentNotTrashedError
        await end_roots(self._roots, await self._repository.documents([document_id]))

    async def folder(self, folder_id: UUID, *, base: int | None) -> None:
        """Delete a folder with all in it that is in the trash, too.

        What the caller may not see in it comes to the top of its workspace, for those who may. Raises
        `ContentsProtectedError` if it holds something else, or something they may not delete for good.
        """
        head = await self._folders.locked(folder_id, Action.MANAGE)
        check_unchanged(head, base)
        if not head["trashed_at"]:
            raise FolderNotTrashedError
        folders = await self._folders.all_within(folder_id)
        contents = await self._repository.contents(folders)
        if not all(row["trashed"] and allows(row["role"], Action.MANAGE) for row in contents):
            raise ContentsProtectedError
        gone = await self._repository.documents_within(folders)
        left = await self._branches.leave_behind(folders, folders)
        await self._placer.hang(left, head["workspace_id"], head["workspace_id"])
        await end_roots(self._roots, gone + await self._repository.folders(folders))


async def end_roots(roots: RootRepository, gone: Sequence[Row]) -> None:
    """The access rules that deleted documents and folders had end with them."""
    ids = [row["id"] for row in gone if row["id"] == row["access_root_id"]]
    if ids:
        await roots.remove(ids)
        await roots.tell(ids, "deleted for good")
