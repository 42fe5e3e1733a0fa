"""The verbs of contents: what is stale, what merges; one write path for every change of a document's text."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from common import pagination
from common.access import Action
from common.database import Row

from .. import domain, schemas
from ..errors import (
    DocumentTrashedError,
    EditConflictError,
    EditNotApplicableError,
    MergeBaseGoneError,
    TooManyWritersError,
    VersionNotFoundError,
    VersionStaleError,
)
from ..repository import DocumentRepository, Write
from ..storage import BodyStore
from .checks import Claim, check_base, checked_text, versions_of
from .documents import DocumentService
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


class ContentService:
    """Contents and versions of documents on behalf of one caller in one request."""

    def __init__(
        self, documents: DocumentService, repository: DocumentRepository, bodies: BodyStore, workbench: Workbench
    ) -> None:
        self._documents = documents
        self._repository = repository
        self._bodies = bodies
        self._workbench = workbench

    async def save(self, document_id: UUID, content: bytes, terms: Terms, claim: Claim) -> Saved:
        """Replace the content the caller had seen at version `terms.base`; merge with what came since.

        Same bytes make no new version. Raises `EditConflictError`, `VersionStaleError` (strict), `VersionAheadError`,
        `DocumentTrashedError`, `ContentNotTextError`, `DocumentNotFoundError`, `ActionForbiddenError`.
        """
        body = await self._bodies.prepare(checked_text(content))
        workspace_id = None
        if body.inline is None:
            workspace_id = (await self._documents.require(document_id, Action.EDIT))["workspace_id"]
            await self._documents.put(workspace_id, body)
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
        await self._documents.require(document_id, Action.EDIT)
        version = await self._version(document_id, n)
        content = await self._documents.text_of(version)

        async def propose(_current: Row, _seen: Row) -> bytes:
            return content

        return await self._reconcile(document_id, propose, Write("restore", n), Terms(base, strict=True), claim)

    async def list_versions(self, document_id: UUID, *, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """A page of versions, newest first."""
        await self._documents.get(document_id)
        before = pagination.decode(cursor, int)[0] if cursor else None
        rows = await self._repository.list_versions(document_id, before=before, limit=limit)
        return pagination.page(rows, limit, "n")

    async def get_version(self, document_id: UUID, n: int) -> Row:
        """One version. Raises `VersionNotFoundError`."""
        await self._documents.get(document_id)
        return await self._version(document_id, n)

    async def read_version(self, document_id: UUID, n: int) -> tuple[Row, bytes]:
        """One version and its exact bytes."""
        version = await self.get_version(document_id, n)
        return version, await self._documents.text_of(version)

    async def diff(self, document_id: UUID, n: int, against: int | None) -> str:
        """Unified diff from version `against` (default: the one before `n`, or nothing) to version `n`."""
        head = await self._documents.get(document_id)
        if against is not None and against > head["version"]:
            raise VersionNotFoundError
        new = await self._version(document_id, n)
        old = await self._repository.find_version_at(document_id, n - 1 if against is None else against)
        if old is None and against is not None:
            raise VersionNotFoundError
        old_content = await self._documents.text_of(old) if old else b""
        new_content = await self._documents.text_of(new)
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
                await self._documents.put(current["workspace_id"], body)
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
            domain.merge_edits, await self._documents.text_of(seen), await self._documents.text_of(current), proposed
        )
        if result.content is not None:
            return result.content
        details: dict[str, Any] = {"conflicts": result.conflicts, **versions_of(current)}
        if terms.preview:
            details["hunks"] = [asdict(hunk) | {"conflict": hunk.conflict} for hunk in result.hunks]
        raise EditConflictError(**details)

    async def _edited(self, row: Row, edits: Sequence[domain.Edit]) -> bytes:
        base = await self._documents.text_of(row)
        try:
            return await self._workbench.run(_apply, base, edits=edits)
        except (domain.FindNotFoundError, domain.FindAmbiguousError) as error:
            raise EditNotApplicableError(str(error)) from error

    async def _writable(self, document_id: UUID, base: int | None) -> Row:
        current = await self._documents.writable(document_id)
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
