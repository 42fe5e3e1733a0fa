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
from common.database import Row
from common.errors import ServiceError
from common.fields import MAX_TITLE_LENGTH

from .. import domain
from ..domain import ladder
from ..errors import (
    ActionForbiddenError,
    DocumentExistsError,
    DocumentNotFoundError,
    DocumentTooLargeError,
    DocumentTrashedError,
    FolderExistsError,
    TooManyWritersError,
    VersionStaleError,
)
from ..repository import Plain as WavePart
from ..repository import Write
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
from .placing import Place
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

    async def at_once(self, pairs: Sequence[tuple[Plain, Task]]) -> dict[UUID, Outcome]:
        """Outcomes of creates and updates that do not touch each other, in one transaction, by operation.

        Those that need a closer look are left out, and all if one stood in the way: nothing happened to those.
        """
        new: list[WavePart] = []
        texts: list[WavePart] = []
        try:
            for op, task in pairs:
                body = await self._bodies.prepare(op.content.encode())
                if body.inline is None:
                    continue
                new_or_text = new if isinstance(op, CreateDocument) else texts
                new_or_text.append(WavePart(acting(self._principal, task), task.claim, body, _columns(op)))
            if not new and not texts:
                return {}
            async with self._open(self._principal) as bench:
                found = await bench.waves.apply(new, texts, pairs[0][1].device_id)
        except ServiceError as error:
            log.info("operations go one by one", extra={"fields": {"cause": error.code}})
            return {}
        return {op_id: Outcome("applied", _state(row)) for op_id, row in found.items()}

    async def create_document(self, op: CreateDocument, task: Task) -> Outcome:
        """Make it where it was meant to be, or as near as there is still a place."""
        body = await self._bodies.prepare(op.content.encode())
        try:
            return await self._create_somewhere(op, task, _columns(op), body)
        except DocumentExistsError:
            return await self._create_again(op, task)

    async def _create_somewhere(
        self, op: CreateDocument, task: Task, document: dict[str, Any], body: Body, copy_of: Row | None = None
    ) -> Outcome:
        async with self._bench(task) as bench:
            await bench.documents.require_belonging(op.workspace_id)
            if body.inline is None:
                await bench.transaction.release()
                await self._bodies.put(op.workspace_id, body)
            await claim(bench, task)
            place, root_id = await self._near(bench, op)
            row = await bench.repository.create({**document, "folder": place.id, "root": root_id}, body, alone=False)
            if row is None:
                raise ActionForbiddenError
            flags = _relocated(op, place, root_id)
            outcome = Outcome("applied", _state(row, flags))
            if copy_of:
                outcome = Outcome("conflict", {**_state(copy_of, flags), "conflict_document_id": str(op.id)})
            return await finish(bench, task, outcome, claimed=True)

    async def _create_again(self, op: CreateDocument, task: Task) -> Outcome:
        """There is one of this id: the same text is the same document, another one a conflict.

        Its copy lies where this one was meant to be: the other may be where more people read.
        """
        async with self._bench(task) as bench:
            head = await bench.repository.find(op.id)
        body = await self._bodies.prepare(op.content.encode())
        elsewhere = head and (head["workspace_id"], head["folder_id"]) != (op.workspace_id, op.parent_id)
        if head and elsewhere and head["body_sha256"] != body.sha256:
            copy = op.model_copy(update={"id": _copy_id(task)})
            return await self._create_somewhere(copy, task, _columns(copy), body, copy_of=head)
        update = UpdateDocument(
            entity="document", type="update", op_id=op.op_id, n=op.n, id=op.id, base_version=0, content=op.content
        )
        try:
            return await self.update_document(update, task)
        except DocumentNotFoundError:
            raise DocumentExistsError from None

    async def create_folder(self, op: CreateFolder, task: Task) -> Outcome:
        """Make it where it was meant to be, or as near as there is still a place."""
        try:
            return await self._create_folder_somewhere(op, task)
        except FolderExistsError:  # of two at once the other was faster, or it is not theirs to know
            async with self._bench(task) as bench:
                if known := await bench.tree.find(op.id):
                    return await finish(bench, task, Outcome("noop", {"version": known["version"]}))
            raise

    async def _create_folder_somewhere(self, op: CreateFolder, task: Task) -> Outcome:
        async with self._bench(task) as bench:
            if known := await bench.tree.find(op.id):
                return await finish(bench, task, Outcome("noop", {"version": known["version"]}))
            await bench.documents.require_belonging(op.workspace_id)
            await claim(bench, task)
            place, root_id = await self._near(bench, op)
            wanted = {"position": op.position} if op.position else {}
            body = FolderCreate(workspace_id=op.workspace_id, name=op.title, parent_id=place.id, id=op.id, **wanted)
            row = await bench.folders.create_at(body, root_id)
            flags = _relocated(op, place, root_id)
            fields = {"version": row["version"]} | ({"flags": flags} if flags else {})
            return await finish(bench, task, Outcome("applied", fields), claimed=True)

    async def _near(self, bench: Bench, op: CreateDocument | CreateFolder) -> tuple[Place, UUID | None]:
        """Where something new may lie, and its access root if it has one of its own there."""
        await bench.placer.share_lock(op.workspace_id)
        place, rules = await bench.placer.near(op.workspace_id, op.parent_id)
        if rules is None:
            return place, None
        await bench.placer.claim_id(op.id, op.entity)
        node = {"id": op.id, "kind": op.entity, "workspace_id": op.workspace_id}
        await bench.placer.make_root(node, place, rules, "relocated")
        return place, op.id

    async def update_document(self, op: UpdateDocument, task: Task) -> Outcome:
        """Take a text as far up the ladder as it goes: the same, the next version, a merge, a copy."""
        proposed = await self._bodies.prepare(op.content.encode())
        for _ in range(ATTEMPTS):
            async with self._bench(task) as bench:
                if outcome := await self._climb(bench, op, task, proposed):
                    return outcome
        raise TooManyWritersError

    async def _climb(self, bench: Bench, op: UpdateDocument, task: Task, proposed: Body) -> Outcome | None:
        """One attempt: decide by what is there, then write if it is still so; None if it is not."""
        current, content = await bench.documents.editable(op.id)
        base = await self._base(bench, op, task, current["version"])
        await bench.transaction.release()
        step = ladder.step(current["body_sha256"], proposed.sha256, _sha256(base))
        body = proposed
        if step is ladder.Step.MERGE and base is not None:
            body = await self._merged(base, content, proposed) or proposed
            step = ladder.Step.MERGE if body is not proposed else ladder.Step.COPY
        if body.inline is None and step is not ladder.Step.NOTHING:
            await self._bodies.put(current["workspace_id"], body)
        await claim(bench, task)
        if step is ladder.Step.NOTHING:  # no edit that would bring it back from the trash
            return await finish(bench, task, Outcome("noop", _state(current)), claimed=True)
        return await self._write(bench, op, task, current, step, proposed, body)

    async def _merged(self, base: bytes, current: bytes, proposed: Body) -> Body | None:
        """Both changes in one text, None if they are at the same place, or together too much for one document."""
        merged = await self._workbench.run(domain.merge_edits, base, current, proposed.content)
        if merged.content is None:
            return None
        try:
            return await self._bodies.prepare(merged.content)
        except DocumentTooLargeError:
            return None

    async def _write(
        self, bench: Bench, op: UpdateDocument, task: Task, seen: Row, step: ladder.Step, proposed: Body, body: Body
    ) -> Outcome | None:
        flags, head = await self._back_from_trash(bench, op.id, seen, copies=step is ladder.Step.COPY)
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

    async def _back_from_trash(
        self, bench: Bench, document_id: UUID, seen: Row, *, copies: bool
    ) -> tuple[list[str], Row | None]:
        """Lock the head, if its text is still the one seen; an edit brings a document back from the trash.

        `copies`: with its place and its rules, since a copy is to have the same.
        """
        flags = []
        if seen["trashed_at"]:
            await bench.documents.restore(document_id, base=None)
            flags = ["restored"]
        elif copies:
            await bench.placer.share_lock(seen["workspace_id"])
        head = await bench.documents.editable_for_update(document_id)
        same = all(head[name] == seen[name] for name in ("content_version", "workspace_id"))
        return flags, head if same and not head["trashed_at"] else None

    async def _base(self, bench: Bench, op: UpdateDocument, task: Task, newest: int) -> bytes | None:
        """The text the update was made from, None if nobody has it (any more)."""
        if op.base_hash is None and op.base_version > newest:
            return None
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
        copy_id = _copy_id(task)
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
            deletes_text = op.entity == "document" and op.type == "delete"
            head = await (bench.documents.locked(op.id) if deletes_text else service.get(op.id))
            trashed, deletes = head["trashed_at"] is not None, op.type == "delete"
            if trashed == deletes:
                return await finish(bench, task, Outcome("noop", {"version": head["version"]}), claimed=True)
            if deletes_text and not ladder.deletes(head["content_version"], op.base_version):
                return await finish(bench, task, Outcome("noop", _state(head, ["kept"])), claimed=True)
            await (service.trash if deletes else service.restore)(op.id, base=None)
            row = await service.get(op.id)
            return await finish(bench, task, Outcome("applied", {"version": row["version"]}), claimed=True)

    async def resolve(self, op: Resolve, task: Task) -> Outcome:
        """Settle a conflict: text and trash in one transaction."""
        for _ in range(ATTEMPTS):
            async with self._bench(task) as bench:
                if outcome := await self._resolve(bench, op, task):
                    return outcome
                await bench.transaction.release()
        raise TooManyWritersError

    async def _resolve(self, bench: Bench, op: Resolve, task: Task) -> Outcome | None:
        """One attempt; None, and nothing is to be kept, if it is held for an export or was moved meanwhile."""
        copy, text = await bench.documents.editable(op.copy_id)
        content = text if op.choice == "mine" else (op.content or "").encode()
        body = await self._bodies.prepare(content)
        head = await (bench.documents.get if op.choice == "theirs" else bench.documents.writable)(op.id)
        await bench.transaction.release()
        if body.inline is None and op.choice != "theirs":
            await self._bodies.put(head["workspace_id"], body)
        await claim(bench, task)
        # Both rows in one order, whoever settles what at the same time.
        ids = {op.copy_id} if op.choice == "theirs" else {op.copy_id, op.id}
        locked = {id_: await bench.documents.editable_for_update(id_) for id_ in sorted(ids)}
        copy_now = locked[op.copy_id]
        seen = op.copy_version or copy_now["content_version"]
        if copy_now["body_sha256"] != copy["body_sha256"] or copy_now["content_version"] > seen:
            raise VersionStaleError(version=copy_now["version"], content_version=copy_now["content_version"])
        if op.choice != "theirs":
            written = await self._write_resolved(bench, op, locked[op.id], body, head["workspace_id"])
            if written is None:
                return None
            head = written
        if not copy_now["trashed_at"]:
            await bench.documents.trash(op.copy_id, base=None)
        return await finish(bench, task, Outcome("applied", _state(head)), claimed=True)

    async def _write_resolved(self, bench: Bench, op: Resolve, head: Row, body: Body, workspace_id: UUID) -> Row | None:
        base = op.base_version or 0
        if head["trashed_at"]:
            raise DocumentTrashedError
        if body.sha256 == head["body_sha256"]:  # settled so before, say
            return head
        if head["content_version"] > base:
            raise VersionStaleError(version=head["version"], content_version=head["content_version"])
        write = Write("save", op.base_version)
        return await bench.repository.save(op.id, body, write, head["version"], workspace_id)


def _copy_id(task: Task) -> UUID:
    """The same for the same operation; of version 4, since a device may have to send the copy again."""
    return UUID(int=uuid5(task.sent.op_id, "conflict copy").int, version=4)


def _columns(op: Plain) -> dict[str, Any]:
    if isinstance(op, UpdateDocument):
        return {"id": op.id, "base": op.base_version or 0, "seen": op.base_hash}
    return {
        "id": op.id, "workspace": op.workspace_id, "folder": op.parent_id, "title": op.title,
        "language": op.language, "kind": op.kind.value, "position": op.position or domain.positions.at_the_end(),
    }  # fmt: skip


def _relocated(op: CreateDocument | CreateFolder, place: Place, root_id: UUID | None) -> list[str]:
    return (["relocated"] if place.id != op.parent_id else []) + (["restricted"] if root_id else [])


def _state(head: Row, flags: list[str] | None = None) -> dict[str, Any]:
    state = {
        "version": head["version"], "content_version": head["content_version"], "content_hash": head["body_sha256"],
    }  # fmt: skip
    return {**state, "flags": flags} if flags else state


def _text(head: Row, body: Body) -> dict[str, Any]:
    url = {"content_url": f"/v1/documents/{head['id']}/versions/{head['content_version']}/content"}
    return url | ({"content": body.content.decode()} if body.size <= INLINE_BYTES else {})


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
