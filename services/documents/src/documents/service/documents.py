"""The verbs of documents: who may, what is stale, what merges; one write path for every content change."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
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

from .. import domain, schemas
from ..errors import (
    ActionForbiddenError,
    DocumentNotFoundError,
    DocumentTrashedError,
    EditConflictError,
    EditNotApplicableError,
    MergeBaseGoneError,
    TooManyWritersError,
    VersionNotFoundError,
    VersionStaleError,
    WorkspaceNotFoundError,
)
from ..repository import DocumentRepository, Write
from ..schemas import DocumentCreate, DocumentUpdate
from ..storage import Body, BodyStore
from .access import AccessService
from .checks import Claim, check_base, check_unchanged, check_unmoved, checked_text, permitted, versions_of
from .placing import Placer
from .workbench import Workbench

ATTEMPTS = 60
PAUSE_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Terms:
    """What the caller had seen (`If-Match`) and how a stale base is to be handled (`Prefer`, RFC 7240)."""

    base: int | None
    strict: bool = False
    preview: bool = False


@dataclass(frozen=True, slots=True)
class Saved:
    """Head after a content write."""

    head: Row
    merged: bool


class DocumentService:
    """Documents on behalf of one caller in one request."""

    def __init__(
        self,
        repository: DocumentRepository,
        bodies: BodyStore,
        workbench: Workbench,
        placer: Placer,
        rules: AccessService,
        access: AccessProjection,
        principal: Principal,
    ) -> None:
        self._repository = repository
        self._placer = placer
        self._rules = rules
        self._bodies = bodies
        self._workbench = workbench
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
            await self._repository.release()
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
        await claim()
        row = await self._repository.create(document, content, alone=not body.restricted)
        if row is None:
            await self._require_place(body)
            await claim()
            row = await self._repository.create(document, content, alone=not body.restricted)
        if row is None:
            raise ActionForbiddenError
        if body.restricted:
            await self._rules.put(row["id"], True, None, base=None)
            row = await self.get(row["id"])
        return row

    async def get(self, document_id: UUID) -> Row:
        """Head. Raises `DocumentNotFoundError`."""
        return await self._seen(document_id, self._repository.find)

    async def read(self, document_id: UUID) -> tuple[Row, bytes]:
        """Head and exact bytes. Raises `DocumentNotFoundError`, `ObjectStoreUnavailableError`."""
        head = await self._seen(document_id, self._repository.find_with_body)
        return head, await self._content_of(head)

    async def editable(self, document_id: UUID) -> tuple[Row, bytes]:
        """Head, in the trash or not, and content. Raises what `read` raises, `ActionForbiddenError`."""
        head = await self._require(document_id, Action.EDIT, with_body=True)
        return head, await self._content_of(head)

    async def editable_for_update(self, document_id: UUID) -> Row:
        """Head, locked, of what the caller may edit. Raises `DocumentNotFoundError`, `ActionForbiddenError`."""
        return await self._require_for_update(document_id, Action.EDIT)

    async def text_of(self, version: Row) -> bytes:
        """Exact bytes of a version's row. Raises `ObjectStoreUnavailableError`."""
        return await self._content_of(version)

    async def my_name(self) -> str:
        """What the caller is called, as far as it is known here."""
        return await self._repository.my_name() or "somebody"

    async def managed_for_update(self, document_id: UUID) -> Row:
        """Head, locked, if the caller may manage it, or made it and it has no rules of its own."""
        row = await self._seen(document_id, self._repository.find_for_update)
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

    async def save(self, document_id: UUID, content: bytes, terms: Terms, claim: Claim) -> Saved:
        """Replace the content the caller had seen at version `terms.base`; merge with what came since.

        Same bytes make no new version. Raises `EditConflictError`, `VersionStaleError` (strict), `VersionAheadError`,
        `DocumentTrashedError`, `ContentNotTextError`, `DocumentNotFoundError`, `ActionForbiddenError`.
        """
        body = await self._bodies.prepare(checked_text(content))
        workspace_id = None
        if body.inline is None:
            workspace_id = (await self._require(document_id, Action.EDIT))["workspace_id"]
            await self._put(workspace_id, body)
        write = Write("save", terms.base)
        await claim()
        saved = await self._repository.save(document_id, body, write, terms.base or 0, workspace_id)
        if saved:
            return Saved(saved, merged=False)

        async def propose(current: Row, seen: Row) -> bytes:
            if current["body_sha256"] == body.sha256 or current is seen:
                return content
            return await self._merge(seen, current, content, terms)

        return await self._reconcile(document_id, propose, write, terms, claim)

    async def edit(
        self, document_id: UUID, wanted: Sequence[schemas.ContentChange], terms: Terms, claim: Claim
    ) -> Saved:
        """Apply edits to version `terms.base`, then merge with what came since; pure additions keep everybody's.

        Raises `EditNotApplicableError` and what `save` raises.
        """
        edits = [_edit(change) for change in wanted]
        additions = domain.only_adds(edits)

        async def propose(current: Row, seen: Row) -> bytes:
            if additions or current is seen:
                return await self._edited(current, edits)
            return await self._merge(seen, current, await self._edited(seen, edits), terms)

        return await self._reconcile(document_id, propose, Write("edit", terms.base), terms, claim)

    async def restore_version(self, document_id: UUID, n: int, base: int | None, claim: Claim) -> Saved:
        """Make version `n`'s content the newest version; with `base`, only if nobody wrote since.

        Raises `VersionNotFoundError`, `VersionStaleError`, `DocumentTrashedError`.
        """
        await self._require(document_id, Action.EDIT)
        version = await self._version(document_id, n)
        content = await self._content_of(version)

        async def propose(_current: Row, _seen: Row) -> bytes:
            return content

        return await self._reconcile(document_id, propose, Write("restore", n), Terms(base, strict=True), claim)

    async def update(self, document_id: UUID, body: DocumentUpdate, *, base: int) -> Row:
        """Change metadata field by field, or the place; a field somebody else changed since `base` is a conflict.

        Raises `VersionStaleError` with the fields, `VersionAheadError`, `DocumentTrashedError`, and what
        `Placer.destination` and `AccessService.put` raise.
        """
        wanted = body.model_dump(exclude_unset=True)
        restricted = wanted.pop("restricted", None)
        head = await self._change(document_id, wanted, base=base)
        if restricted is not None:
            await self._rules.put(document_id, restricted, None, base=None)
            head = await self.get(document_id)
        return head

    async def move(self, document_id: UUID, folder_id: UUID | None, after: UUID | None, *, base: int | None) -> Row:
        """Put into a folder or the top, behind a sibling or at the end; with `base`, unless somebody moved it since."""
        head = await self._require(document_id, Action.EDIT)
        wanted: dict[str, Any] = {"folder_id": folder_id}
        wanted["position"] = await self._placer.position(head["workspace_id"], folder_id, after)
        return await self._change(document_id, wanted, base=base or head["version"])

    async def _change(self, document_id: UUID, wanted: dict[str, Any], *, base: int) -> Row:
        seen = None
        if "folder_id" in wanted:
            seen = await self._require(document_id, Action.EDIT)
            await self._placer.lock(seen["workspace_id"])
        head = await self._require_for_update(document_id, Action.EDIT)
        check_unmoved(head, seen or head)
        check_base(head, base)
        if head["trashed_at"]:
            raise DocumentTrashedError
        changes = {name: value for name, value in wanted.items() if head[name] != value}
        fields = {"place" if name in ("folder_id", "position") else name for name in changes}
        stale = sorted(name for name in fields if head["field_versions"].get(name, 1) > base)
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

        If its folder is in the trash too, it comes back in the nearest one above that is not.
        """
        seen = await self._require(document_id, Action.DELETE)
        await self._placer.lock(seen["workspace_id"])
        head = check_unmoved(await self._require_for_update(document_id, Action.DELETE), seen)
        check_unchanged(head, base)
        if not head["trashed_at"]:
            return head
        place = await self._placer.living_place(head["workspace_id"], head["folder_id"])
        changes = {"trashed_at": None, "trashed_by": None, "trashed_with": None}
        return await self._placer.put_document(head, place, changes, DocumentRestored)

    async def list_versions(self, document_id: UUID, *, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """A page of versions, newest first."""
        await self.get(document_id)
        before = pagination.decode(cursor, int)[0] if cursor else None
        rows = await self._repository.list_versions(document_id, before=before, limit=limit)
        return pagination.page(rows, limit, "n")

    async def get_version(self, document_id: UUID, n: int) -> Row:
        """One version. Raises `VersionNotFoundError`."""
        await self.get(document_id)
        return await self._version(document_id, n)

    async def read_version(self, document_id: UUID, n: int) -> tuple[Row, bytes]:
        """One version and its exact bytes."""
        version = await self.get_version(document_id, n)
        return version, await self._content_of(version)

    async def diff(self, document_id: UUID, n: int, against: int | None) -> str:
        """Unified diff from version `against` (default: the one before `n`, or nothing) to version `n`."""
        head = await self.get(document_id)
        if against is not None and against > head["version"]:
            raise VersionNotFoundError
        new = await self._version(document_id, n)
        old = await self._repository.find_version_at(document_id, n - 1 if against is None else against)
        if old is None and against is not None:
            raise VersionNotFoundError
        old_content = await self._content_of(old) if old else b""
        new_content = await self._content_of(new)
        return await self._workbench.run(
            domain.unified_diff,
            old_content,
            new_content,
            old_label=f"v{old['n']}" if old else "/dev/null",
            new_label=f"v{n}",
        )

    async def _reconcile(
        self,
        document_id: UUID,
        propose: Callable[[Row, Row], Awaitable[bytes]],
        write: Write,
        terms: Terms,
        claim: Claim,
    ) -> Saved:
        """Compare-and-set: propose a content for the current head, save it if the head is still that, else again."""
        for attempt in range(ATTEMPTS):
            current = await self._writable(document_id, terms.base)
            base = current["version"] if terms.base is None else terms.base
            stale = current["content_version"] > base
            if stale and terms.strict:
                raise VersionStaleError(**versions_of(current))
            seen = await self._version_at(document_id, base) if stale else current
            authors = await self._repository.authors_since(document_id, base) if stale else []
            body = await self._bodies.prepare(checked_text(await propose(current, seen)))
            unchanged = body.sha256 == current["body_sha256"]
            if body.inline is None and not unchanged:
                await self._put(current["workspace_id"], body)
            await claim()
            if unchanged:
                return Saved(current, merged=stale)
            merged = replace(write, merged=stale, contributors=authors)
            workspace_id = current["workspace_id"]
            if head := await self._repository.save(document_id, body, merged, current["version"], workspace_id):
                return Saved(head, merged=stale)
            await self._repository.release()
            await asyncio.sleep(PAUSE_SECONDS * min(attempt, 10))
        raise TooManyWritersError

    async def _merge(self, seen: Row, current: Row, proposed: bytes, terms: Terms) -> bytes:
        result = await self._workbench.run(
            domain.merge_edits, await self._content_of(seen), await self._content_of(current), proposed
        )
        if result.content is not None:
            return result.content
        details: dict[str, Any] = {"conflicts": result.conflicts, **versions_of(current)}
        if terms.preview:
            details["hunks"] = [asdict(hunk) | {"conflict": hunk.conflict} for hunk in result.hunks]
        raise EditConflictError(**details)

    async def _edited(self, row: Row, edits: Sequence[domain.Edit]) -> bytes:
        base = await self._content_of(row)
        try:
            return await self._workbench.run(_apply, base, edits=edits)
        except (domain.FindNotFoundError, domain.FindAmbiguousError) as error:
            raise EditNotApplicableError(str(error)) from error

    async def _writable(self, document_id: UUID, base: int | None) -> Row:
        current = await self._require(document_id, Action.EDIT, with_body=True)
        if current["trashed_at"]:
            raise DocumentTrashedError
        check_base(current, base)
        return current

    async def _version_at(self, document_id: UUID, version: int) -> Row:
        seen = await self._repository.find_version_at(document_id, version)
        if seen is None:
            raise MergeBaseGoneError
        return seen

    async def _version(self, document_id: UUID, n: int) -> Row:
        version = await self._repository.find_version(document_id, n)
        if version is None:
            raise VersionNotFoundError
        return version

    async def _put(self, workspace_id: UUID, body: Body) -> None:
        await self._repository.release()
        await self._bodies.put(workspace_id, body)

    async def _content_of(self, row: Row) -> bytes:
        if row["data"] is None:
            await self._repository.release()
        return await self._bodies.read(row)

    async def _seen(self, document_id: UUID, question: Callable[[UUID], Awaitable[Row | None]]) -> Row:
        """Answer of `question`, asked again if the membership projection merely did not know the caller yet."""
        row = await question(document_id)
        if row is None:
            await self._repository.release()
            if await self._access.learn(self._principal.user_id):
                row = await question(document_id)
        if row is None:
            await self._rules.refuse_if_held(document_id)
            raise DocumentNotFoundError
        return row

    async def _require(self, document_id: UUID, action: Action, *, with_body: bool = False) -> Row:
        question = self._repository.find_with_body if with_body else self._repository.find
        return permitted(await self._seen(document_id, question), action)

    async def _require_for_update(self, document_id: UUID, action: Action) -> Row:
        return permitted(await self._seen(document_id, self._repository.find_for_update), action)

    async def _require_place(self, body: DocumentCreate) -> None:
        await self.require_belonging(body.workspace_id)
        await self._placer.destination(body.workspace_id, body.folder_id)

    async def require_belonging(self, workspace_id: UUID) -> None:
        """Raises `WorkspaceNotFoundError` unless the caller is a member or guest."""
        if not await self._repository.belongs_to(workspace_id):
            await self._repository.release()
            await self._access.learn(self._principal.user_id)
            if not await self._repository.belongs_to(workspace_id):
                raise WorkspaceNotFoundError


def _edit(change: schemas.ContentChange) -> domain.Edit:
    match change:
        case schemas.FindReplace():
            return domain.Replace(change.find, change.replace)
        case schemas.Append():
            return domain.Append(change.append)
        case schemas.Prepend():
            return domain.Prepend(change.prepend)


def _apply(base: bytes, *, edits: Sequence[domain.Edit]) -> bytes:
    return domain.apply_edits(base.decode(), edits).encode()
