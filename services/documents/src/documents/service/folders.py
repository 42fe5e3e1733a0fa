"""The verbs of folders: a tree people arrange, whose parts keep their access rules wherever they are put."""

from collections import defaultdict
from typing import Any
from uuid import UUID

from common import pagination
from common.access import AccessProjection, Action, allows
from common.auth import Principal
from common.contracts.documents import FolderUpdated
from common.database import Row
from common.identifiers import uuid7

from .. import domain
from ..errors import (
    ActionForbiddenError,
    ContentsProtectedError,
    FolderCycleError,
    FolderNotFoundError,
    FolderTooDeepError,
    FolderTrashedError,
    VersionStaleError,
    WorkspaceNotFoundError,
)
from ..repository import DocumentRepository, TreeRepository
from ..schemas import FolderCreate, FolderUpdate
from .access import AccessService
from .checks import Claim, check_base, check_unchanged, check_unmoved, permitted
from .placing import MAX_DEPTH, Placer

TREE_NODES = 10_000


class FolderService:
    """Folders on behalf of one caller in one request."""

    def __init__(
        self,
        tree: TreeRepository,
        documents: DocumentRepository,
        placer: Placer,
        rules: AccessService,
        access: AccessProjection,
        principal: Principal,
    ) -> None:
        self._tree = tree
        self._documents = documents
        self._placer = placer
        self._rules = rules
        self._access = access
        self._principal = principal

    async def create(self, body: FolderCreate, claim: Claim) -> Row:
        """Make a folder.

        Raises `WorkspaceNotFoundError`, `FolderNotFoundError`, `FolderTrashedError`, `ActionForbiddenError`,
        `FolderExistsError`, `FolderTooDeepError`.
        """
        for _ in range(2):
            await claim()
            if row := await self._create(body, None):
                return row
            await self._require_place(body)
        if await self._too_deep(body):
            raise FolderTooDeepError
        raise ActionForbiddenError

    async def create_at(self, body: FolderCreate, root_id: UUID | None) -> Row:
        """Make a folder where its caller, who holds the tree's lock, has found a place, under that access root.

        Raises `FolderExistsError`, `FolderTooDeepError`.
        """
        row = await self._create(body, root_id)
        if row is None:
            raise FolderTooDeepError if await self._too_deep(body) else ActionForbiddenError
        return row

    async def _create(self, body: FolderCreate, root_id: UUID | None) -> Row | None:
        if await self._too_deep(body):
            return None
        return await self._tree.create(
            {
                "id": body.id or uuid7(),
                "workspace": body.workspace_id,
                "folder": body.parent_id,
                "name": body.name,
                "position": body.position or domain.positions.at_the_end(),
                "root": root_id,
            }
        )

    async def _too_deep(self, body: FolderCreate) -> bool:
        return body.parent_id is not None and await self._placer.depth(body.parent_id) >= MAX_DEPTH

    async def get(self, folder_id: UUID) -> Row:
        """Head. Raises `FolderNotFoundError`."""
        row = await self._tree.find(folder_id)
        if row is None:
            await self._tree.transaction.release()
            await self._access.learn(self._principal.user_id)
            row = await self._tree.find(folder_id)
        if row is None:
            await self._rules.refuse_if_held(folder_id)
            raise FolderNotFoundError
        return row

    async def again(self, folder_id: UUID) -> Row:
        """Head of what was seen before, under locks taken since. Raises `FolderNotFoundError`."""
        row = await self._tree.find(folder_id)
        if row is None:
            raise FolderNotFoundError
        return row

    async def list_page(
        self, workspace_id: UUID, *, filters: dict[str, Any], cursor: str | None, limit: int
    ) -> tuple[list[Row], str | None]:
        """A page of a workspace's folders, by position. Raises `WorkspaceNotFoundError`, `CursorInvalidError`."""
        after = pagination.decode(cursor, str, UUID) if cursor else None
        rows = await self._tree.list_in(workspace_id, filters=filters, after=after, limit=limit)
        if not rows and await self._belongs_to(workspace_id):
            rows = await self._tree.list_in(workspace_id, filters=filters, after=after, limit=limit)
        return pagination.page(rows, limit, "position", "id")

    async def tree(self, folder_id: UUID, *, depth: int, with_documents: bool) -> dict[str, Any]:
        """A folder with what lies in it down to `depth` levels: nested rows, `truncated` if there is more.

        At most 10,000 folders and as many documents, nearest first.
        """
        head = await self.get(folder_id)
        below = await self._tree.folders_below(head, depth=depth, limit=TREE_NODES)
        folders = below[:TREE_NODES]
        inside = [head["id"], *(row["id"] for row in folders if row["depth"] < depth)]
        found = await self._tree.documents_in(head, inside, limit=TREE_NODES) if with_documents else []
        documents = found[:TREE_NODES]
        children: dict[UUID, dict[str, list[Any]]] = defaultdict(lambda: {"folders": [], "documents": []})
        for row in documents:
            children[row["folder_id"]]["documents"].append(row)
        for row in folders:
            children[row["parent_id"]]["folders"].append(row)
        return {
            "head": head,
            "children": children,
            "truncated": len(below) > TREE_NODES or len(found) > TREE_NODES,
        }

    async def update(self, folder_id: UUID, body: FolderUpdate, *, base: int | None) -> Row:
        """Rename or move; a field somebody else changed since `base` is a conflict, without one the last one counts.

        Raises `VersionStaleError` with the fields, `VersionAheadError`, `FolderTrashedError`, `FolderCycleError`,
        `FolderTooDeepError`, and what `Placer.destination` raises.
        """
        wanted = body.model_dump(exclude_unset=True)
        after = wanted.pop("after", None)
        seen = permitted(await self.get(folder_id), Action.EDIT)
        if wanted.keys() & {"parent_id", "position"} or after:
            await self._tree.lock(seen["workspace_id"])
        head = check_unmoved(await self.require_for_update(folder_id, Action.EDIT), seen)
        check_base(head, base)
        if head["trashed_at"]:
            raise FolderTrashedError
        changes = {name: value for name, value in wanted.items() if head[name] != value}
        if after or ("parent_id" in changes and "position" not in changes):
            parent = changes.get("parent_id", head["parent_id"])
            changes["position"] = await self._placer.position(head["workspace_id"], parent, after)
        self._refuse_stale(head, changes, base or head["version"])
        if "parent_id" in changes:
            await self._move(head, changes["parent_id"])
            head = await self.require_for_update(folder_id, Action.EDIT)
        return await self._tree.update(head, changes, FolderUpdated, origin="metadata") if changes else head

    async def move(self, folder_id: UUID, parent_id: UUID | None, after: UUID | None, *, base: int | None) -> Row:
        """Put into a folder or the top, behind a sibling or at the end; see `update`."""
        body = FolderUpdate(parent_id=parent_id, **({"after": after} if after else {}))
        return await self.update(folder_id, body, base=base)

    async def trash(self, folder_id: UUID, *, base: int | None) -> None:
        """Move to the trash with all in it; doing so again changes nothing.

        What the caller may not see in it stays, and is found at the top by those who may. Raises
        `ContentsProtectedError` if there is something the caller may see but not delete.
        """
        head = await self.locked(folder_id, Action.DELETE)
        check_unchanged(head, base)
        if head["trashed_at"]:
            return
        folders = await self.all_within(folder_id)
        await self._check_contents(folders, None)
        await self._tree.trash(folders, folder_id)

    async def restore(self, folder_id: UUID, *, base: int | None) -> Row:
        """Take out of the trash, with what went there together with it; doing so again changes nothing.

        If the folder it lay in is in the trash, it comes back in the nearest one above that is not; to the same people.
        """
        head = await self.locked(folder_id, Action.DELETE)
        check_unchanged(head, base)
        if not head["trashed_at"]:
            return head
        tag = head["trashed_with"]
        folders = await self.all_within(folder_id)
        await self._check_contents(folders, tag)
        await self._tree.restore(folders, tag)
        place = await self._placer.place_left(head["workspace_id"], head["parent_id"])
        if place.id == head["parent_id"]:
            return await self.require_for_update(folder_id, Action.DELETE)
        node = {**head, "kind": "folder"}
        root_id = await self._placer.bring_back(node, place)
        if root_id != head["access_root_id"]:
            await self._placer.reroot(node, root_id, lowers=True)
        head = await self.require_for_update(folder_id, Action.DELETE)
        changes = {"parent_id": place.id, "position": domain.positions.at_the_end()}
        return await self._tree.update(head, changes, FolderUpdated, origin="restore")

    async def _move(self, head: Row, parent_id: UUID | None) -> None:
        place = await self._placer.destination(head["workspace_id"], parent_id)
        line = await self._tree.lineage(parent_id) if parent_id else []
        if head["id"] in line:
            raise FolderCycleError
        height = max(row["depth"] for row in await self._tree.subtree(head["id"]))
        if len(line) + height + 1 > MAX_DEPTH:
            raise FolderTooDeepError
        await self._placer.put_folder({**head, "kind": "folder"}, place)

    async def _check_contents(self, folders: list[UUID], tag: UUID | None) -> None:
        roles = await self._tree.roles_within(folders, tag)
        if not all(allows(role, Action.DELETE) for role in roles):
            raise ContentsProtectedError

    def _refuse_stale(self, head: Row, changes: dict[str, Any], base: int) -> None:
        fields = {"name" if name == "name" else "place" for name in changes}
        stale = sorted(field for field in fields if head["field_versions"].get(field, 1) > base)
        if stale:
            detail = "changed by somebody else: " + ", ".join(stale)
            raise VersionStaleError(detail, fields=stale, version=head["version"])

    async def locked(self, folder_id: UUID, action: Action) -> Row:
        """The folder, once nobody else changes the tree."""
        seen = permitted(await self.get(folder_id), action)
        await self._tree.lock(seen["workspace_id"])
        return check_unmoved(await self.require_for_update(folder_id, action), seen)

    async def all_within(self, folder_id: UUID) -> list[UUID]:
        """A folder and all folders below it that the caller sees."""
        return [row["id"] for row in await self._tree.subtree(folder_id)]

    async def require_for_update(self, folder_id: UUID, action: Action) -> Row:
        """Head, locked. Raises `FolderNotFoundError`, `ActionForbiddenError`."""
        row = await self._tree.find_for_update(folder_id)
        if row is None:
            raise FolderNotFoundError
        return permitted(row, action)

    async def editable_for_update(self, folder_id: UUID) -> Row:
        """Head, locked, of what the caller may edit. Raises `FolderNotFoundError`, `ActionForbiddenError`."""
        await self.get(folder_id)
        return await self.require_for_update(folder_id, Action.EDIT)

    async def _require_place(self, body: FolderCreate) -> None:
        if not await self._belongs_to(body.workspace_id):
            raise WorkspaceNotFoundError
        await self._placer.destination(body.workspace_id, body.parent_id)
        await self._tree.transaction.release()  # locks of rows come after that of the tree

    async def _belongs_to(self, workspace_id: UUID) -> bool:
        """Raises `WorkspaceNotFoundError` unless the caller is a member or guest."""
        if await self._documents.belongs_to(workspace_id):
            return True
        await self._tree.transaction.release()
        await self._access.learn(self._principal.user_id)
        if not await self._documents.belongs_to(workspace_id):
            raise WorkspaceNotFoundError
        return True
