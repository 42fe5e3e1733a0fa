"""Where folders and documents lie, and under which access root: the part all verbs that move or restrict share."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple
from uuid import UUID

from common.access import Action, Role, allows, strongest
from common.auth import Principal
from common.contracts.documents import DocumentUpdated
from common.database import Row
from common.revocations import Announcer

from .. import domain
from ..errors import ActionForbiddenError, FolderNotFoundError, FolderTrashedError, SiblingUnknownError
from ..repository import DocumentRepository, RootRepository, TreeRepository

MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Rules:
    """Access rules of one folder or document."""

    inherits: bool = True
    grants: Mapping[str, str] = field(default_factory=dict)
    """Principal -> role."""
    version: int = 0

    @property
    def empty(self) -> bool:
        """Whether it has none of its own."""
        return self.inherits and not self.grants


class Place(NamedTuple):
    """A folder, or the top of a workspace, and the access root of what is put there."""

    id: UUID | None
    access_root_id: UUID


class Placer:
    """Moves things between folders and access roots; callers hold the lock of the workspace's tree."""

    def __init__(
        self,
        documents: DocumentRepository,
        tree: TreeRepository,
        roots: RootRepository,
        announcer: Announcer,
        principal: Principal,
    ) -> None:
        self._documents = documents
        self._tree = tree
        self._roots = roots
        self._announcer = announcer
        self._principal = principal

    async def lock(self, workspace_id: UUID) -> None:
        """Serialise changes of a workspace's tree and access rules; until the transaction ends."""
        await self._tree.lock(workspace_id)

    async def share_lock(self, workspace_id: UUID) -> None:
        """Let nobody change a workspace's tree or access rules; until the transaction ends. Not before `lock`."""
        await self._tree.share_lock(workspace_id)

    async def claim_id(self, node_id: UUID, kind: str) -> None:
        """Make sure that an id a client chose is nothing else's. Raises `DocumentExistsError`, `FolderExistsError`."""
        await self._tree.claim_id(node_id, kind)

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

    async def place_left(self, workspace_id: UUID, folder_id: UUID | None) -> Place:
        """The folder, or the nearest above, that is not in the trash, else the top; whoever may see that.

        For what comes back to where it was, or as near as there is still a place: with `audience`, to nobody else.
        """
        found = await self._tree.living_above(folder_id) if folder_id else None
        return Place(found["id"], found["access_root_id"]) if found else Place(None, workspace_id)

    async def near(self, workspace_id: UUID, folder_id: UUID | None) -> tuple[Place, Rules | None]:
        """Where something new meant for a folder may lie, and rules that let in nobody whom the folder would not.

        Those of the folder, if it is in the trash; the caller's own, if they may not write there (any more) or it is
        nowhere. Raises `FolderNotFoundError` for one of another workspace, and what `destination` raises.
        """
        meant = await self._tree.find(folder_id) if folder_id else None
        if meant and meant["workspace_id"] != workspace_id:
            raise FolderNotFoundError
        if meant and allows(meant["role"], Action.EDIT):
            place = await self.place_left(workspace_id, folder_id)
            return place, await self.audience(meant["access_root_id"], place)
        top = await self.destination(workspace_id, None)
        alone = Rules(inherits=False, grants={f"user:{self._principal.user_id}": Role.OWNER.value})
        return Place(None, top["access_root_id"]), alone if folder_id else None

    async def audience(self, root_id: UUID, place: Place) -> Rules | None:
        """Rules by which something lets in at `place` whom access root `root_id` lets in; None if it needs none."""
        line = await self._roots.lineage(root_id)
        line = list(takewhile(lambda root: root["root_id"] != place.access_root_id, line))
        grants: dict[str, str] = {}
        for root in line:
            for principal, role in root["grants"].items():
                grants[principal] = strongest([role, grants.get(principal, role)]) or role
        inherits = all(root["inherits"] for root in line)
        return None if inherits and not grants else Rules(inherits, grants)

    async def make_root(self, node: Row, place: Place, rules: Rules, change: str) -> None:
        """Give a folder or document (`id`, `kind`, `workspace_id`) rules of its own below a place, and tell."""
        root = {
            "root_id": node["id"], "workspace_id": node["workspace_id"], "kind": node["kind"],
            "parent_id": place.access_root_id, "inherits": rules.inherits, "removed": False,
        }  # fmt: skip
        version = await self._roots.keep(root, rules.grants)
        await self._roots.tell([node["id"]], change)
        await self._announcer.roots_changed(self._tree.transaction, node["workspace_id"], {node["id"]: version})

    async def bring_back(self, head: Row, place: Place) -> UUID:
        """The access root of a locked folder or document at the place it comes back to.

        Nobody gains or loses a right by that: where the rules are others than those it was under, it keeps them as
        its own.
        """
        rules = await self.audience(head["access_root_id"], place)
        if rules is None and head["access_root_id"] != head["id"]:
            return place.access_root_id
        await self.make_root(head, place, rules or Rules(), "restored")
        own: UUID = head["id"]
        return own

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

    async def bring_document_back(self, head: Row, place: Place, changes: dict[str, Any], event: Any) -> Row:
        """Let a locked document come back to a place, with other changes of its row; see `bring_back`."""
        changes = dict(changes)
        if place.id != head["folder_id"]:
            changes["folder_id"] = place.id
            root_id = await self.bring_back({**head, "kind": "document"}, place)
            if root_id != head["access_root_id"]:
                changes["access_root_id"] = root_id
        back = await self._documents.update(head, changes, event)
        if "access_root_id" in changes:
            await self._announcer.nodes_placed(self._tree.transaction, {head["id"]: back["version"]})
        return back

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
