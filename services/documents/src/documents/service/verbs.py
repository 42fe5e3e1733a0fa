"""What each kind of operation does: the same verbs as requests, with the ladder where others were faster."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import zstandard

from common.auth import Principal
from common.database import Call, Row, Transaction
from common.errors import ServiceError
from common.fields import MAX_TITLE_LENGTH

from .. import domain
from ..domain import ladder
from ..errors import (
    ActionForbiddenError,
    DocumentExistsError,
    DocumentNotFoundError,
    DocumentTrashedError,
    FolderNotFoundError,
    TooManyWritersError,
    VersionStaleError,
)
from ..repository import DocumentRepository, Write
from ..schemas import DocumentUpdate, FolderCreate, FolderUpdate
from ..schemas.operations import (
    Bin,
    ChangeMeta,
    CreateDocument,
    CreateFolder,
    Move,
    Operation,
    Resolve,
    UpdateDocument,
)
from ..storage import Body, BodyStore
from .operations import INLINE_BYTES, Bench, Outcome, Plain, Task, Verb, acting, claim, finish
from .workbench import Workbench

log = logging.getLogger(__name__)

ATTEMPTS = 20
COPY_NAME = " (conflict copy, {name}, {day:%Y-%m-%d})"


class Verbs:
    """Operations of one user."""

    def __init__(
        self,
        open_bench: Callable[[Principal], AbstractAsyncContextManager[Bench]],
        principal: Principal,
        bodies: BodyStore,
        workbench: Workbench,
    ) -> None:
        self._open = open_bench
        self._principal = principal
        self._bodies = bodies
        self._workbench = workbench

    def by_type(self) -> Mapping[type[Operation], Verb]:
        """The verb for each kind of operation."""
        return {
            CreateDocument: self.create_document,
            UpdateDocument: self.update_document,
            ChangeMeta: self.change_meta,
            Move: self.move,
            Bin: self.bin,
            CreateFolder: self.create_folder,
            Resolve: self.resolve,
        }

    def _bench(self, task: Task) -> AbstractAsyncContextManager[Bench]:
        return self._open(acting(self._principal, task))

    async def at_once(self, pairs: Sequence[tuple[Plain, Task]]) -> list[Outcome | None]:
        """Outcomes of creates and updates that do not touch each other, in one transaction.

        None for each that needs a closer look, and for all if one of them stood in the way: nothing happened to those.
        """
        bodies = [await self._bodies.prepare(op.content.encode()) for op, _ in pairs]
        async with self._open(self._principal) as bench:
            calls = {
                at: self._call(bench.transaction, op, task, body)
                for at, ((op, task), body) in enumerate(zip(pairs, bodies, strict=True))
                if body.inline is not None
            }
            try:
                found = await bench.repository.together(list(calls.values())) if calls else []
            except ServiceError as error:
                log.info("operations go one by one", extra={"fields": {"cause": error.code}})
                return [None] * len(pairs)
        rows = dict(zip(calls, found, strict=True))
        return [Outcome("applied", _state(rows[at][0])) if rows.get(at) else None for at in range(len(pairs))]

    def _call(self, transaction: Transaction, op: Plain, task: Task, body: Body) -> Call:
        repository = DocumentRepository(transaction, acting(self._principal, task))
        if isinstance(op, CreateDocument):
            return repository.creation_by(task.claim, _document(op), body)
        return repository.saving_by(
            {**task.claim, "seen": op.base_hash}, op.id, body, Write("save", op.base_version or 0)
        )

    async def create_document(self, op: CreateDocument, task: Task) -> Outcome:
        """Make it where it was meant to be, or as near as there is still a place."""
        body, document = await self._bodies.prepare(op.content.encode()), _document(op)
        try:
            if body.inline is not None:
                async with self._bench(task) as bench:
                    if row := await bench.repository.create_by(task.claim, document, body):
                        return Outcome("applied", _state(row))
            return await self._create_somewhere(op, task, document, body)
        except DocumentExistsError:
            return await self._create_again(op, task)

    async def _create_somewhere(self, op: CreateDocument, task: Task, document: dict[str, Any], body: Body) -> Outcome:
        async with self._bench(task) as bench:
            await bench.documents.require_belonging(op.workspace_id)
            if body.inline is None:
                await bench.transaction.release()
                await self._bodies.put(op.workspace_id, body)
            await claim(bench, task)
            place = await _near(bench, op.workspace_id, op.parent_id)
            row = await bench.repository.create({**document, "folder": place["id"]}, body, alone=False)
            if row is None:
                raise ActionForbiddenError
            flags = ["relocated"] if place["id"] != op.parent_id else []
            return await finish(bench, task, Outcome("applied", _state(row, flags)), claimed=True)

    async def _create_again(self, op: CreateDocument, task: Task) -> Outcome:
        """There is one of this id: the same text is the same document, another one a conflict."""
        update = UpdateDocument(
            entity="document", type="update", op_id=op.op_id, n=op.n, id=op.id, base_version=0, content=op.content
        )
        try:
            return await self.update_document(update, task)
        except DocumentNotFoundError:
            raise DocumentExistsError from None

    async def create_folder(self, op: CreateFolder, task: Task) -> Outcome:
        """Make it where it was meant to be, or as near as there is still a place."""
        async with self._bench(task) as bench:
            if known := await bench.tree.find(op.id):
                return await finish(bench, task, Outcome("noop", {"version": known["version"]}))
            await bench.documents.require_belonging(op.workspace_id)
            await claim(bench, task)
            place = await _near(bench, op.workspace_id, op.parent_id)
            wanted = {"position": op.position} if op.position else {}
            body = FolderCreate(workspace_id=op.workspace_id, name=op.title, parent_id=place["id"], id=op.id, **wanted)
            row = await bench.folders.create(body, _nothing)
            flags = {"flags": ["relocated"]} if place["id"] != op.parent_id else {}
            return await finish(bench, task, Outcome("applied", {"version": row["version"], **flags}), claimed=True)

    async def update_document(self, op: UpdateDocument, task: Task) -> Outcome:
        """Take a text as far up the ladder as it goes: the same, the next version, a merge, a copy."""
        proposed = await self._bodies.prepare(op.content.encode())
        if proposed.inline is not None and op.base_version:
            async with self._bench(task) as bench:
                seen = {**task.claim, "seen": op.base_hash}
                if row := await bench.repository.save_by(seen, op.id, proposed, Write("save", op.base_version)):
                    return Outcome("applied", _state(row))
        for _ in range(ATTEMPTS):
            async with self._bench(task) as bench:
                if outcome := await self._climb(bench, op, task, proposed):
                    return outcome
        raise TooManyWritersError

    async def _climb(self, bench: Bench, op: UpdateDocument, task: Task, proposed: Body) -> Outcome | None:
        """One attempt: decide by what is there, then write if it is still so; None if it is not."""
        current, content = await bench.documents.editable(op.id)
        base = await self._base(bench, op, task)
        step = ladder.step(current["body_sha256"], proposed.sha256, _sha256(base))
        body = proposed
        if step is ladder.Step.MERGE and base is not None:
            merged = await self._workbench.run(domain.merge_edits, base, content, proposed.content)
            if merged.content is None:
                step = ladder.Step.COPY
            else:
                body = await self._bodies.prepare(merged.content)
        await bench.transaction.release()
        if body.inline is None and step is not ladder.Step.NOTHING:
            await self._bodies.put(current["workspace_id"], body)
        await claim(bench, task)
        if step is ladder.Step.NOTHING:  # no edit that would bring it back from the trash
            return await finish(bench, task, Outcome("noop", _state(current)), claimed=True)
        return await self._write(bench, op, task, current, step, proposed, body)

    async def _write(
        self, bench: Bench, op: UpdateDocument, task: Task, seen: Row, step: ladder.Step, proposed: Body, body: Body
    ) -> Outcome | None:
        flags, head = await self._back_from_trash(bench, op.id, seen)
        if head and step is ladder.Step.COPY:
            return await self._copy(bench, task, head, proposed, flags)
        merged = step is ladder.Step.MERGE
        if head and body.sha256 != head["body_sha256"]:
            authors = await bench.repository.authors_since(op.id, op.base_version) if merged else []
            write = Write("save", op.base_version, merged, authors)
            head = await bench.repository.save(op.id, body, write, head["version"], head["workspace_id"])
        if head is None:
            await bench.transaction.release()
            return None
        fields = _state(head, flags) | (_text(head, body) if merged else {})
        return await finish(bench, task, Outcome("merged" if merged else "applied", fields, merged), claimed=True)

    async def _back_from_trash(self, bench: Bench, document_id: UUID, seen: Row) -> tuple[list[str], Row | None]:
        """Lock the head, if its text is still the one seen; an edit brings a document back from the trash."""
        flags = []
        if seen["trashed_at"]:
            await bench.documents.restore(document_id, base=None)
            flags = ["restored"]
        head = await bench.documents.editable_for_update(document_id)
        same = all(head[name] == seen[name] for name in ("content_version", "workspace_id"))
        return flags, head if same and not head["trashed_at"] else None

    async def _base(self, bench: Bench, op: UpdateDocument, task: Task) -> bytes | None:
        """The text the update was made from, None if nobody has it any more."""
        rows = await bench.repository.texts_known(op.id, op.base_version, op.base_hash)
        known = [ladder.Known(row["body_sha256"], row["n"]) for row in rows]
        found = ladder.base_of(op.base_version, op.base_hash, known)
        if found:
            return await bench.documents.text_of(next(row for row in rows if row["n"] == found.version))
        if op.base_hash is None:
            return None
        if (said := task.said_before(op.id, op.base_hash)) is not None:
            return said
        payload = await bench.operations.payload(op.id, op.base_hash)
        return zstandard.decompress(payload) if payload is not None else None

    async def _copy(self, bench: Bench, task: Task, head: Row, body: Body, flags: list[str]) -> Outcome:
        """Keep the text as a document beside the other, readable by the same people."""
        copy_id = uuid5(task.sent.op_id, "conflict copy")
        ending = COPY_NAME.format(name=await bench.documents.my_name(), day=datetime.now(UTC))
        document: dict[str, Any] = {
            "id": copy_id, "workspace": head["workspace_id"], "folder": head["folder_id"], "language": head["language"],
            "kind": head["kind"], "title": head["title"][: MAX_TITLE_LENGTH - len(ending)] + ending,
            "position": domain.positions.at_the_end(), "root": None,
        }  # fmt: skip
        if head["access_root_id"] == head["id"]:
            document["root"] = await self._same_rules(bench, head, copy_id)
        if await bench.repository.create_copy(document, body, head["id"]) is None:
            raise ActionForbiddenError
        fields = {**_state(head, flags), "conflict_document_id": str(copy_id)}
        return await finish(bench, task, Outcome("conflict", fields), claimed=True)

    async def _same_rules(self, bench: Bench, head: Row, copy_id: UUID) -> UUID:
        root = await bench.roots.find(head["id"])
        assert root is not None  # noqa: S101 - the document says so, and is locked
        names = ("workspace_id", "kind", "parent_id", "inherits", "removed")
        await bench.roots.keep({"root_id": copy_id, **{name: root[name] for name in names}}, root["grants"])
        await bench.roots.tell([copy_id], "conflict copy")
        return copy_id

    async def change_meta(self, op: ChangeMeta, task: Task) -> Outcome:
        """Title or language: field by field, the last one counts."""
        async with self._bench(task) as bench:
            service: Any = bench.documents if op.entity == "document" else bench.folders
            await service.get(op.id)
            await claim(bench, task)
            head = await service.editable_for_update(op.id)
            fields = op.fields()
            if op.entity == "folder":
                fields = {"name": fields["title"]}
            flags = _overwrote(head, fields, op.base_version)
            if all(head[name] == value for name, value in fields.items()):
                return await finish(bench, task, Outcome("noop", {"version": head["version"]}), claimed=True)
            if op.entity == "document":
                row = await bench.documents.update(op.id, DocumentUpdate(**fields), base=head["version"])
            else:
                row = await bench.folders.update(op.id, FolderUpdate(**fields), base=head["version"])
            return await finish(bench, task, Outcome("applied", {"version": row["version"], **flags}), claimed=True)

    async def move(self, op: Move, task: Task) -> Outcome:
        """Into another folder, or elsewhere among its siblings: the last one counts, unless it makes a circle."""
        async with self._bench(task) as bench:
            service: Any = bench.documents if op.entity == "document" else bench.folders
            head = await service.get(op.id)
            await claim(bench, task)
            placed_at = await bench.operations.placed_at(op.entity, op.id)
            row = await service.move(op.id, op.parent_id, op.after, base=None)
            before = head["shown_folder_id" if op.entity == "document" else "shown_parent_id"]
            flags: dict[str, Any] = {}
            if op.base_version is not None and placed_at > op.base_version and before != op.parent_id:
                flags = {"flags": ["overwrote"], "overwritten": {"parent_id": before and str(before)}}
            status = "applied" if row["version"] != head["version"] else "noop"
            return await finish(bench, task, Outcome(status, {"version": row["version"], **flags}), claimed=True)

    async def bin(self, op: Bin, task: Task) -> Outcome:
        """Into the trash or out of it; an edit its author had not seen wins over a deletion."""
        async with self._bench(task) as bench:
            service: Any = bench.documents if op.entity == "document" else bench.folders
            await service.get(op.id)
            await claim(bench, task)
            head = await service.get(op.id)
            trashed, deletes = head["trashed_at"] is not None, op.type == "delete"
            if trashed == deletes:
                return await finish(bench, task, Outcome("noop", {"version": head["version"]}), claimed=True)
            if deletes and op.entity == "document" and not ladder.deletes(head["content_version"], op.base_version):
                return await finish(bench, task, Outcome("noop", _state(head, ["kept"])), claimed=True)
            await (service.trash if deletes else service.restore)(op.id, base=None)
            row = await service.get(op.id)
            return await finish(bench, task, Outcome("applied", {"version": row["version"]}), claimed=True)

    async def resolve(self, op: Resolve, task: Task) -> Outcome:
        """Settle a conflict: text and trash in one transaction."""
        async with self._bench(task) as bench:
            copy, text = await bench.documents.editable(op.copy_id)
            content = text if op.choice == "mine" else (op.content or "").encode()
            body = await self._bodies.prepare(content)
            head = await bench.documents.get(op.id)
            await bench.transaction.release()
            if body.inline is None and op.choice != "theirs":
                await self._bodies.put(head["workspace_id"], body)
            await claim(bench, task)
            if op.choice != "theirs":
                head = await bench.documents.editable_for_update(op.id)
                head = await self._write_resolved(bench, op, head, body)
            if not copy["trashed_at"]:
                await bench.documents.trash(op.copy_id, base=None)
            return await finish(bench, task, Outcome("applied", _state(head)), claimed=True)

    async def _write_resolved(self, bench: Bench, op: Resolve, head: Row, body: Body) -> Row:
        base = op.base_version or 0
        if head["trashed_at"]:
            raise DocumentTrashedError
        if head["content_version"] > base:
            raise VersionStaleError(version=head["version"], content_version=head["content_version"])
        if body.sha256 == head["body_sha256"]:
            return head
        write = Write("save", op.base_version)
        saved = await bench.repository.save(op.id, body, write, head["version"], head["workspace_id"])
        if saved is None:
            raise TooManyWritersError
        return saved


def _document(op: CreateDocument) -> dict[str, Any]:
    return {
        "id": op.id, "workspace": op.workspace_id, "folder": op.parent_id, "title": op.title,
        "language": op.language, "kind": op.kind.value, "position": op.position or domain.positions.at_the_end(),
    }  # fmt: skip


async def _near(bench: Bench, workspace_id: UUID, folder_id: UUID | None) -> Row:
    """The folder, or the nearest living one above it, or the top. Raises what `Placer.destination` raises."""
    if folder_id is None:
        return await bench.placer.destination(workspace_id, None)
    found = await bench.tree.find(folder_id)
    if found and found["workspace_id"] != workspace_id:
        raise FolderNotFoundError
    if found is None:
        return await bench.placer.destination(workspace_id, None)
    return await bench.placer.living_place(workspace_id, folder_id)


def _state(head: Row, flags: list[str] | None = None) -> dict[str, Any]:
    state = {
        "version": head["version"], "content_version": head["content_version"], "content_hash": head["body_sha256"],
    }  # fmt: skip
    return {**state, "flags": flags} if flags else state


def _text(head: Row, body: Body) -> dict[str, Any]:
    if body.size <= INLINE_BYTES:
        return {"content": body.content.decode()}
    return {"content_url": f"/v1/documents/{head['id']}/versions/{head['content_version']}/content"}


def _overwrote(head: Row, fields: Mapping[str, Any], base_version: int | None) -> dict[str, Any]:
    """What somebody else had set since the version the author knew."""
    if base_version is None:
        return {}
    versions = head["field_versions"]
    lost = {
        name: head[name] for name, value in fields.items()
        if versions.get(name, 1) > base_version and head[name] != value
    }  # fmt: skip
    named = {"title" if name == "name" else name: value for name, value in lost.items()}
    return {"flags": ["overwrote"], "overwritten": named} if named else {}


def _sha256(text: bytes | None) -> str | None:
    return None if text is None else hashlib.sha256(text).hexdigest()


async def _nothing() -> None:
    """The operation's own claim came before."""
