"""Where folders and documents lie, and under which access root: the part all verbs that move or restrict share."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from common.access import Action, allows
from common.contracts.documents import DocumentUpdated
from common.database import Row
from common.revocations import Announcer

from .. import domain
from ..errors import ActionForbiddenError, FolderNotFoundError, FolderTrashedError, SiblingUnknownError
from ..repository import DocumentRepository, RootRepository, TreeRepository

MAX_DEPTH = 64


class Placer:
    """Moves things between folders and access roots; callers hold the lock of the workspace's tree."""

    def __init__(
        self, documents: DocumentRepository, tree: TreeRepository, roots: RootRepository, announcer: Announcer
    ) -> None:
        self._documents = documents
        self._tree = tree
        self._roots = roots
        self._announcer = announcer

    async def lock(self, workspace_id: UUID) -> None:
        """Serialise changes of a workspace's tree and access rules; until the transaction ends."""
        await self._tree.lock(workspace_id)

    async def destination(self, workspace_id: UUID, folder_id: UUID | None) -> Row:
        """The folder, or the top, something may be put into: its `id` and `access_root_id`.

        Raises `FolderNotFoundError`, `FolderTrashedError`, `ActionForbiddenError`.
        """
        if folder_id is None:
            place: Row = {"id": None, "access_root_id": workspace_id, "trashed_at": None}
            place["role"] = await self._documents.role_at(workspace_id)
        else:
            found = await self._tree.share(folder_id)
            if found is None or found["workspace_id"] != workspace_id:
                raise FolderNotFoundError
            place = found
        if not allows(place["role"], Action.EDIT):
            raise ActionForbiddenError("you may not put anything there")
        if place["trashed_at"]:
            raise FolderTrashedError
        return place

    async def living_place(self, workspace_id: UUID, folder_id: UUID | None) -> Row:
        """The nearest folder above that is alive and may be written to, else the top."""
        for above in await self._tree.lineage(folder_id) if folder_id else []:
            found = await self._tree.share(above)
            if found and not found["trashed_at"] and allows(found["role"], Action.EDIT):
                return found
        return await self.destination(workspace_id, None)

    async def depth(self, folder_id: UUID | None) -> int:
        """How deep a folder lies: 0 for the top of its workspace."""
        return len(await self._tree.lineage(folder_id)) if folder_id else 0

    async def position(self, workspace_id: UUID, parent_id: UUID | None, after: UUID | None) -> str:
        """A position behind the sibling `after`, at the end without one. Raises `SiblingUnknownError`."""
        if after is None:
            return domain.positions.at_the_end()
        try:
            before, behind = await self._tree.positions_from(workspace_id, parent_id, after)
        except LookupError as error:
            raise SiblingUnknownError from error
        return domain.positions.between(before, behind)

    async def put_document(self, head: Row, place: Row, changes: dict[str, Any], event: Any, **extra: Any) -> Row:
        """Put a locked document into a folder or the top, with other changes of its row."""
        changes = {**changes, "folder_id": place["id"]}
        if head["access_root_id"] == head["id"]:
            await self.hang({head["id"]}, place["access_root_id"], head["workspace_id"])
        elif head["access_root_id"] != place["access_root_id"]:
            changes["access_root_id"] = place["access_root_id"]
        moved = await self._documents.update(head, changes, event, **extra)
        if "access_root_id" in changes:
            await self._announcer.nodes_placed(self._tree.transaction, {head["id"]: moved["version"]})
        return moved

    async def put_folder(self, head: Row, place: Row) -> None:
        """Let rights of a folder and all in it come from where it is put; its own row is the caller's business."""
        if head["access_root_id"] == head["id"]:
            await self.hang({head["id"]}, place["access_root_id"], head["workspace_id"])
        elif head["access_root_id"] != place["access_root_id"]:
            await self.reroot(head, place["access_root_id"], lowers=True)

    async def reroot(self, node: Row, new: UUID, *, lowers: bool) -> None:
        """Put a folder or document, and all that has no rules of its own in it, under another access root."""
        old = node["access_root_id"]
        if node["kind"] != "folder":
            changed = await self._documents.update(
                node, {"access_root_id": new}, DocumentUpdated, origin="access", merged=False
            )
            versions = {node["id"]: changed["version"]}
        else:
            folders = [row["id"] for row in await self._tree.subtree(node["id"], within=old)]
            nested = await self._roots.within(folders)
            versions = await self._tree.reroot(folders, old, new)
            await self.hang(set(nested) - {new}, new, node["workspace_id"])
        if lowers:
            await self._announcer.nodes_placed(self._tree.transaction, versions)

    async def hang(self, ids: Collection[UUID], parent_id: UUID, workspace_id: UUID) -> None:
        """Let rights of these access roots come from another one above, and tell."""
        versions = await self._roots.hang(list(ids), parent_id)
        if versions:
            await self._roots.tell(list(versions), "moved")
            await self._announcer.roots_changed(self._tree.transaction, workspace_id, versions)
