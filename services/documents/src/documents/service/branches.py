"""The verbs on whole branches: a folder or document with all in it is copied, or taken to another workspace."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from common.access import Action, allows
from common.auth import Principal
from common.database import Row
from common.fields import MAX_LINE_LENGTH, MAX_TITLE_LENGTH
from common.identifiers import uuid7
from common.revocations import Announcer

from .. import domain
from ..errors import (
    BranchTooLargeError,
    ContentsProtectedError,
    DocumentTrashedError,
    FolderTooDeepError,
    FolderTrashedError,
    TooManyWritersError,
    VersionStaleError,
)
from ..repository import BranchRepository, Root, RootRepository
from ..storage import BodyStore
from .checks import Claim, check_base, check_unmoved, versions_of
from .documents import DocumentService
from .folders import FolderService
from .placing import MAX_DEPTH, Placer

MAX_NODES = 10_000
"""Folders, and as many documents, in one branch."""
COPY = " (copy)"
ATTEMPTS = 5
PARALLEL_COPIES = 8


@dataclass(frozen=True, slots=True)
class Branch:
    """A folder or document and what the caller sees in it, parents first, with the rules that count there."""

    folders: list[Row]
    documents: list[Row]
    rules: dict[UUID, Row]

    @property
    def nodes(self) -> list[Row]:
        """Folders and documents."""
        return [*self.folders, *self.documents]

    def own(self) -> list[Row]:
        """Those with access rules of their own."""
        return [node for node in self.nodes if node["access_root_id"] == node["id"]]

    def restricted(self) -> list[Row]:
        """Those that do not inherit what is above."""
        return [node for node in self.own() if self.rules[node["id"]]["restricted"]]

    def living(self) -> "Branch":
        """Without what is in the trash, and what lies in that."""
        alive: set[UUID] = set()
        kept: list[Row] = []
        for node in self.nodes:
            if node["trashed_at"] is None and (node is self.nodes[0] or node["parent_id"] in alive):
                alive.add(node["id"])
                kept.append(node)
        return Branch(
            [node for node in self.folders if node["id"] in alive],
            [node for node in self.documents if node["id"] in alive],
            self.rules,
        )


@dataclass(frozen=True, slots=True)
class Placed:
    """A node, or its copy `new_id`, as it lies at a new place; `above` is the root its rights would come from."""

    id: UUID
    new_id: UUID
    kind: str
    parent_id: UUID | None
    root_id: UUID
    above: UUID
    old_root_id: UUID

    @property
    def restricted(self) -> bool:
        """Whether it has rules of its own there."""
        return self.root_id == self.new_id


def placed_at(branch: Branch, place: Row, ids: Mapping[UUID, UUID]) -> list[Placed]:
    """Every node under its new id at its new place: what is restricted stays so, other grants do not travel."""
    restricted = {node["id"] for node in branch.restricted()}
    roots: dict[UUID, UUID] = {}
    found: list[Placed] = []
    for node in branch.nodes:
        old, new = node["id"], ids[node["id"]]
        above = roots[node["parent_id"]] if found else place["access_root_id"]
        parent_id = ids[node["parent_id"]] if found else place["id"]
        roots[old] = new if old in restricted else above
        kind = "folder" if "depth" in node else "document"
        found.append(Placed(old, new, kind, parent_id, roots[old], above, node["access_root_id"]))
    return found


class BranchService:
    """Branches on behalf of one caller in one request."""

    def __init__(
        self,
        branches: BranchRepository,
        roots: RootRepository,
        documents: DocumentService,
        folders: FolderService,
        placer: Placer,
        bodies: BodyStore,
        announcer: Announcer,
        principal: Principal,
    ) -> None:
        self._branches = branches
        self._roots = roots
        self._documents = documents
        self._folders = folders
        self._placer = placer
        self._bodies = bodies
        self._announcer = announcer
        self._principal = principal
        self._copied: set[str] = set()

    async def duplicate_document(self, document_id: UUID, wanted: Mapping[str, Any], claim: Claim) -> Row:
        """Copy a document with its newest content, beside it or into another folder of the workspace.

        The copy of a restricted one is the caller's alone. Raises `DocumentNotFoundError`, `DocumentTrashedError`,
        `DocumentExistsError`, and what `Placer.destination` raises.
        """
        seen = await self._documents.get(document_id)
        await self._placer.lock(seen["workspace_id"])
        head = check_unmoved(await self._documents.again(document_id), seen)
        if head["trashed_at"]:
            raise DocumentTrashedError
        name = _name_of_copy(head["title"], MAX_TITLE_LENGTH)
        return await self._documents.get(await self._duplicate(head, wanted, name, head["shown_folder_id"], claim))

    async def duplicate_folder(self, folder_id: UUID, wanted: Mapping[str, Any], claim: Claim) -> Row:
        """Copy a folder with all in it that is not in the trash and the caller may read.

        Raises `FolderNotFoundError`, `FolderTrashedError`, `FolderExistsError`, `BranchTooLargeError`,
        `FolderTooDeepError`, and what `Placer.destination` raises.
        """
        seen = await self._folders.get(folder_id)
        await self._placer.lock(seen["workspace_id"])
        head = check_unmoved(await self._folders.again(folder_id), seen)
        if head["trashed_at"]:
            raise FolderTrashedError
        name = _name_of_copy(head["name"], MAX_LINE_LENGTH)
        return await self._folders.get(await self._duplicate(head, wanted, name, head["shown_parent_id"], claim))

    async def move_document(
        self, document_id: UUID, workspace_id: UUID, folder_id: UUID | None, after: UUID | None, *, base: int | None
    ) -> Row:
        """Take a document with its history to another workspace, where it comes under the rules of its new place.

        Raises `WorkspaceNotFoundError`, `DocumentNotFoundError`, `ActionForbiddenError`, `DocumentTrashedError`,
        `VersionStaleError`, and what `Placer.destination` raises.
        """
        for _ in range(ATTEMPTS):
            seen = await self._documents.get(document_id)
            if seen["workspace_id"] == workspace_id:
                return await self._documents.move(document_id, folder_id, after, base=base)
            await self._lock_both(seen["workspace_id"], workspace_id)
            head = check_unmoved(await self._documents.managed_for_update(document_id), seen)
            if head["trashed_at"]:
                raise DocumentTrashedError
            if await self._move(head, workspace_id, folder_id, after, base):
                return await self._documents.get(document_id)
        raise TooManyWritersError

    async def move_folder(
        self, folder_id: UUID, workspace_id: UUID, parent_id: UUID | None, after: UUID | None, *, base: int | None
    ) -> Row:
        """Take a folder with all in it to another workspace; what the caller does not see stays, at the top.

        Raises what `move_document` raises, `FolderTrashedError`, `ContentsProtectedError` if there is something in it
        the caller sees but may not take away, `BranchTooLargeError`, `FolderTooDeepError`.
        """
        for _ in range(ATTEMPTS):
            seen = await self._folders.get(folder_id)
            if seen["workspace_id"] == workspace_id:
                return await self._folders.move(folder_id, parent_id, after, base=base)
            await self._lock_both(seen["workspace_id"], workspace_id)
            head = check_unmoved(await self._folders.require_for_update(folder_id, Action.MANAGE), seen)
            if head["trashed_at"]:
                raise FolderTrashedError
            if await self._move(head, workspace_id, parent_id, after, base):
                return await self._folders.get(folder_id)
        raise TooManyWritersError

    async def _duplicate(
        self, head: Row, wanted: Mapping[str, Any], name: str, beside: UUID | None, claim: Claim
    ) -> UUID:
        workspace_id = head["workspace_id"]
        place = await self._placer.destination(workspace_id, wanted.get("place", beside))
        branch = (await self._branch(head)).living()
        await self._check_depth(branch, place["id"])
        ids: dict[UUID, UUID] = {node["id"]: uuid7() for node in branch.nodes} | {
            head["id"]: wanted.get("id") or uuid7()
        }
        placed = placed_at(branch, place, ids)
        await claim()
        await self._placer.claim_id(placed[0].new_id, placed[0].kind)
        await self._give(workspace_id, placed, "restricted")
        top = (head["id"], wanted.get("name") or name, domain.positions.at_the_end())
        for kind, copy in (("folder", self._branches.copy_folders), ("document", self._branches.copy_documents)):
            chosen = [one for one in placed if one.kind == kind]
            await copy(
                {
                    "ids": [one.id for one in chosen],
                    "copies": [one.new_id for one in chosen],
                    "parents": [one.parent_id for one in chosen],
                    "roots": [one.root_id for one in chosen],
                },
                *top,
            )
        return placed[0].new_id

    async def _move(
        self, head: Row, workspace_id: UUID, place_id: UUID | None, after: UUID | None, base: int | None
    ) -> bool:
        """Whether it is done: False if large bodies had to be copied first, without the locks."""
        check_base(head, base)
        if base is not None and head["field_versions"].get("place", 1) > base:
            raise VersionStaleError("changed by somebody else: place", fields=["place"], **versions_of(head))
        place = await self._placer.destination(workspace_id, place_id)
        position = await self._placer.position(workspace_id, place["id"], after)
        branch, source = await self._branch(head, lock=True), head["workspace_id"]
        if branch.folders and not all(allows(rule["role"], Action.MANAGE) for rule in branch.rules.values()):
            raise ContentsProtectedError
        await self._check_depth(branch, place["id"])
        documents = [node["id"] for node in branch.documents]
        if await self._copied_large_bodies(documents, source, workspace_id):
            return False
        folders, everything = [node["id"] for node in branch.folders], [node["id"] for node in branch.nodes]
        await self._placer.hang(await self._branches.leave_behind(folders, everything), source, source)
        placed = placed_at(branch, place, {node: node for node in everything})
        versions = await self._give(workspace_id, placed, "moved")
        await self._branches.copy_bodies(documents, source, workspace_id)
        to = {"workspace": workspace_id, "from": source, "top": head["id"], "place": place["id"], "position": position}
        moved = await self._branches.move(_moves(placed, "folder"), _moves(placed, "document"), to)
        lost = [one.id for one in placed if one.old_root_id == one.id and not one.restricted]
        versions |= await self._remove(lost)
        transaction = self._branches.transaction
        await self._announcer.nodes_placed(transaction, {row["id"]: row["version"] for row in moved})
        await self._announcer.roots_changed(transaction, source, versions)
        return True

    async def _branch(self, head: Row, *, lock: bool = False) -> Branch:
        """`lock`: nobody writes in it until the transaction ends."""
        if "title" in head:
            folders, documents = [], [{**head, "parent_id": head["folder_id"]}]
        else:
            folders = await self._branches.folders(head["id"], MAX_NODES, lock=lock)
            documents = await self._branches.documents([row["id"] for row in folders], MAX_NODES, lock=lock)
        if max(len(folders), len(documents)) > MAX_NODES:
            raise BranchTooLargeError(f"more than {MAX_NODES} folders or documents")
        nodes = [*folders, *documents]
        return Branch(folders, documents, await self._branches.rules({node["access_root_id"] for node in nodes}))

    async def _lock_both(self, source: UUID, target: UUID) -> None:
        await self._documents.require_belonging(target)
        for workspace_id in sorted({source, target}):
            await self._placer.lock(workspace_id)

    async def _check_depth(self, branch: Branch, place_id: UUID | None) -> None:
        if branch.folders:
            height = max(folder["depth"] for folder in branch.folders)
            if await self._placer.depth(place_id) + height + 1 > MAX_DEPTH:
                raise FolderTooDeepError

    async def _copied_large_bodies(self, documents: Sequence[UUID], source: UUID, target: UUID) -> bool:
        """Copy what the target's object store may lack; no lock is held meanwhile."""
        missing = await self._branches.large_bodies(documents, source) - self._copied
        if not missing:
            return False
        await self._branches.transaction.release()
        turn = asyncio.Semaphore(PARALLEL_COPIES)

        async def copy(sha256: str) -> None:
            async with turn:
                await self._bodies.copy(sha256, source, target)

        await asyncio.gather(*(copy(sha256) for sha256 in missing))
        self._copied |= missing
        return True

    async def _give(self, workspace_id: UUID, placed: Sequence[Placed], change: str) -> dict[UUID, int]:
        """Whatever is restricted among these is the caller's alone."""
        roots = [Root(one.new_id, one.kind, one.above) for one in placed if one.restricted]
        if not roots:
            return {}
        versions = await self._roots.give(self._principal.user_id, workspace_id, roots)
        await self._roots.tell(list(versions), change)
        return versions

    async def _remove(self, roots: Sequence[UUID]) -> dict[UUID, int]:
        versions = await self._roots.remove(roots) if roots else {}
        if versions:
            await self._roots.tell(list(versions), "moved")
        return versions


def _moves(placed: Sequence[Placed], kind: str) -> dict[str, list[UUID]]:
    chosen = [one for one in placed if one.kind == kind]
    return {
        "ids": [one.id for one in chosen],
        "roots": [one.root_id for one in chosen],
        "olds": [one.old_root_id for one in chosen],
    }


def _name_of_copy(name: str, limit: int) -> str:
    return name[: limit - len(COPY)] + COPY
