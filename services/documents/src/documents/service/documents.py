"""The verbs of documents: who may see and change which, where they lie; their contents are `contents`'."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from common import pagination
from common.access import AccessProjection, Action
from common.auth import Principal
from common.contracts.documents import DocumentRestored, DocumentTrashed, DocumentUpdated
from common.database import Row
from common.identifiers import uuid7

from .. import domain
from ..errors import (
    ActionForbiddenError,
    DocumentNotFoundError,
    DocumentTrashedError,
    VersionStaleError,
    WorkspaceNotFoundError,
)
from ..repository import DocumentRepository
from ..schemas import DocumentCreate, DocumentUpdate
from ..storage import Body, BodyStore
from .access import AccessService
from .checks import Claim, check_base, check_unchanged, check_unmoved, permitted, versions_of
from .placing import Placer

LOOK_AGAIN_SECONDS = 0.05
"""While a live room's export has a document to itself."""


class DocumentService:
    """Documents on behalf of one caller in one request."""

    def __init__(
        self,
        repository: DocumentRepository,
        bodies: BodyStore,
        placer: Placer,
        rules: AccessService,
        access: AccessProjection,
        principal: Principal,
    ) -> None:
        self._repository = repository
        self._placer = placer
        self._rules = rules
        self._bodies = bodies
        self._access = access
        self._principal = principal

    async def create(self, body: DocumentCreate, claim: Claim) -> Row:
        """Make a document with its first version; a restricted one is its author's alone at first.

        Raises `WorkspaceNotFoundError`, `FolderNotFoundError`, `FolderTrashedError`, `ActionForbiddenError`,
        `DocumentExistsError`, `ObjectStoreUnavailableError`.
        """
        content = await self._bodies.prepare(body.content.encode())
        if content.inline is None:
            await self._require_place(body)
            await self._bodies.put(body.workspace_id, content)
        document = {
            "id": body.id or uuid7(),
            "workspace": body.workspace_id,
            "folder": body.folder_id,
            "position": body.position or domain.positions.at_the_end(),
            "title": body.title,
            "language": body.language,
            "kind": body.kind.value,
        }
        for _ in range(2):
            await claim()
            if body.restricted:  # before the folder's row is locked, as all do who change rules
                await self._placer.lock(body.workspace_id)
            if row := await self._repository.create(document, content, alone=not body.restricted):
                break
            await self._require_place(body)
        else:
            raise ActionForbiddenError
        if body.restricted:
            await self._rules.put(row["id"], True, None, base=None)
            row = await self.get(row["id"])
        return row

    async def get(self, document_id: UUID) -> Row:
        """Head. Raises `DocumentNotFoundError`."""
        return await self._seen(document_id, self._repository.find)

    async def again(self, document_id: UUID) -> Row:
        """Head of what was seen before, under locks taken since. Raises `DocumentNotFoundError`."""
        row = await self._repository.find(document_id)
        if row is None:
            raise DocumentNotFoundError
        return row

    async def read(self, document_id: UUID) -> tuple[Row, bytes]:
        """Head and exact bytes. Raises `DocumentNotFoundError`, `ObjectStoreUnavailableError`."""
        head = await self._seen(document_id, self._repository.find_with_body)
        return head, await self.text_of(head)

    async def editable(self, document_id: UUID) -> tuple[Row, bytes]:
        """What `writable` answers, and content. Raises what `read` raises, `ActionForbiddenError`."""
        head = await self.writable(document_id)
        return head, await self.text_of(head)

    async def writable(self, document_id: UUID) -> Row:
        """Head, in the trash or not, with its inline body, once no live room's export has the document to itself.

        That takes a second at most, without a transaction. Raises `DocumentNotFoundError`, `ActionForbiddenError`.
        """
        head = await self.require(document_id, Action.EDIT, with_body=True)
        held = head["held"]
        if not held:
            return head
        while held:
            await self._repository.release()
            await asyncio.sleep(min(held, LOOK_AGAIN_SECONDS))
            held = await self._repository.held_for(document_id)
        return await self.require(document_id, Action.EDIT, with_body=True)

    async def editable_for_update(self, document_id: UUID) -> Row:
        """Head, locked, of what the caller could edit. Raises `DocumentNotFoundError`, `ActionForbiddenError`."""
        return await self._require_for_update(document_id, Action.EDIT, seen_before=True)

    async def text_of(self, row: Row) -> bytes:
        """Exact bytes of a row of a head or version with its inline body. Raises `ObjectStoreUnavailableError`."""
        if row["data"] is None:
            await self._repository.release()
        return await self._bodies.read(row)

    async def put(self, workspace_id: UUID, body: Body) -> None:
        """Store a large body before it is written; ends the reads so far. Raises `ObjectStoreUnavailableError`."""
        await self._repository.release()
        await self._bodies.put(workspace_id, body)

    async def my_name(self) -> str:
        """What the caller is called, as far as it is known here."""
        return await self._repository.my_name() or "somebody"

    async def managed_for_update(self, document_id: UUID) -> Row:
        """Head, locked, if the caller, who saw it before, may manage it, or made it and it has no rules of its own."""
        row = await self.locked(document_id)
        return permitted(row, Action.EDIT if row["made_it"] else Action.MANAGE)

    async def list_page(
        self, workspace_id: UUID, *, sort: str, cursor: str | None, limit: int, filters: dict[str, Any]
    ) -> tuple[list[Row], str | None]:
        """A page of what the caller may read in a workspace. Raises `WorkspaceNotFoundError`, `CursorInvalidError`."""
        column = sort.lstrip("-")
        parse = datetime.fromisoformat if column.endswith("_at") else str
        after = pagination.decode(cursor, parse, UUID) if cursor else None
        question = partial(self._repository.list_in, workspace_id, sort=sort, after=after, filters=filters, limit=limit)
        rows = await question()
        if not rows:
            await self.require_belonging(workspace_id)
            rows = await question()
        return pagination.page(rows, limit, column, "id")

    async def update(self, document_id: UUID, body: DocumentUpdate, *, base: int) -> Row:
        """Change metadata field by field, or the place; a field somebody else changed since `base` is a conflict.

        Raises `VersionStaleError` with the fields, `VersionAheadError`, `DocumentTrashedError`, and what
        `Placer.destination` and `AccessService.put` raise.
        """
        wanted = body.model_dump(exclude_unset=True)
        restricted = wanted.pop("restricted", None)
        head = await self._change(document_id, wanted, base=base, rules=restricted is not None)
        if restricted is not None:
            await self._rules.put(document_id, restricted, None, base=None)
            head = await self.get(document_id)
        return head

    async def move(self, document_id: UUID, folder_id: UUID | None, after: UUID | None, *, base: int | None) -> Row:
        """Put into a folder or the top, behind a sibling or at the end; with `base`, unless somebody moved it since."""
        head = await self.require(document_id, Action.EDIT)
        wanted: dict[str, Any] = {"folder_id": folder_id}
        wanted["position"] = await self._placer.position(head["workspace_id"], folder_id, after)
        return await self._change(document_id, wanted, base=base)

    async def _change(self, document_id: UUID, wanted: dict[str, Any], *, base: int | None, rules: bool = False) -> Row:
        """Without `base` the last one counts; `rules`: access rules are changed in the same transaction."""
        seen = None
        if "folder_id" in wanted or rules:
            seen = await self.require(document_id, Action.EDIT)
            await self._placer.lock(seen["workspace_id"])
        head = await self._require_for_update(document_id, Action.EDIT, seen_before=bool(seen))
        check_unmoved(head, seen or head)
        check_base(head, base)
        if head["trashed_at"]:
            raise DocumentTrashedError
        changes = {name: value for name, value in wanted.items() if head[name] != value}
        fields = {"place" if name in ("folder_id", "position") else name for name in changes}
        stale = sorted(name for name in fields if head["field_versions"].get(name, 1) > (base or head["version"]))
        if stale:
            raise VersionStaleError("changed by somebody else: " + ", ".join(stale), fields=stale, **versions_of(head))
        if "folder_id" in changes:
            changes.setdefault("position", domain.positions.at_the_end())
            place = await self._placer.destination(head["workspace_id"], changes.pop("folder_id"))
            return await self._placer.put_document(head, place, changes, DocumentUpdated, origin="move", merged=False)
        if not changes:
            return head
        return await self._repository.update(head, changes, DocumentUpdated, merged=False, origin="metadata")

    async def trash(self, document_id: UUID, *, base: int | None) -> None:
        """Move to the trash; doing so again changes nothing. Raises `VersionStaleError` if `base` is not current."""
        head = await self._require_for_update(document_id, Action.DELETE)
        check_unchanged(head, base)
        if not head["trashed_at"]:
            changes = {"trashed_at": datetime.now(UTC), "trashed_by": self._principal.user_id}
            await self._repository.update(head, changes, DocumentTrashed)

    async def restore(self, document_id: UUID, *, base: int | None) -> Row:
        """Take out of the trash; doing so again changes nothing. Raises `VersionStaleError`.

        If its folder is in the trash too, it comes back in the nearest one above that is not; to the same people.
        """
        seen = await self.require(document_id, Action.DELETE)
        await self._placer.lock(seen["workspace_id"])
        head = check_unmoved(await self._require_for_update(document_id, Action.DELETE, seen_before=True), seen)
        check_unchanged(head, base)
        if not head["trashed_at"]:
            return head
        changes = {"trashed_at": None, "trashed_by": None, "trashed_with": None}
        place = await self._placer.place_left(head["workspace_id"], head["folder_id"])
        return await self._placer.bring_document_back(head, place, changes, DocumentRestored)

    async def _seen(self, document_id: UUID, question: Callable[[UUID], Awaitable[Row | None]]) -> Row:
        """Answer of `question`, asked again if the membership projection merely did not know the caller yet."""
        row = await question(document_id)
        if row is None:
            await self._repository.release()
            await self._access.learn(self._principal.user_id)
            row = await question(document_id)
        if row is None:
            await self._rules.refuse_if_held(document_id)
            raise DocumentNotFoundError
        return row

    async def require(self, document_id: UUID, action: Action, *, with_body: bool = False) -> Row:
        """Head, if its role allows the action. Raises `DocumentNotFoundError`, `ActionForbiddenError`."""
        question = self._repository.find_with_body if with_body else self._repository.find
        return permitted(await self._seen(document_id, question), action)

    async def _require_for_update(self, document_id: UUID, action: Action, *, seen_before: bool = False) -> Row:
        """`seen_before`: in this request, which may hold locks that must not be given up to ask who the caller is."""
        if seen_before:
            return permitted(await self.locked(document_id), action)
        return permitted(await self._seen(document_id, self._repository.find_for_update), action)

    async def locked(self, document_id: UUID) -> Row:
        """Head, locked, of what the caller saw before in this transaction. Raises `DocumentNotFoundError`."""
        row = await self._repository.find_for_update(document_id)
        if row is None:
            raise DocumentNotFoundError
        return row

    async def _require_place(self, body: DocumentCreate) -> None:
        await self.require_belonging(body.workspace_id)
        await self._placer.destination(body.workspace_id, body.folder_id)
        await self._repository.release()  # locks of rows come after that of the tree

    async def require_belonging(self, workspace_id: UUID) -> None:
        """Raises `WorkspaceNotFoundError` unless the caller is a member or guest."""
        if not await self._repository.belongs_to(workspace_id):
            await self._repository.release()
            await self._access.learn(self._principal.user_id)
            if not await self._repository.belongs_to(workspace_id):
                raise WorkspaceNotFoundError
