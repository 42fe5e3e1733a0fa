"""A model of documents: heads, versions, results of operations in dictionaries; its decisions are the service's own."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from common.contracts.auth_gateway import membership_id
from common.contracts.documents import root_aggregate
from common.messaging import Envelope
from documents import domain
from documents.domain import ladder

Json = dict[str, Any]
THEN = datetime(2026, 1, 1, tzinfo=UTC)


def sha256(text: bytes) -> str:
    """Hash of a text."""
    return hashlib.sha256(text).hexdigest()


@dataclass(frozen=True)
class Document:
    """Head and versions of a document; rows are replaced, so that a copy of the table is a backup."""

    id: str
    workspace_id: str
    root_id: str
    title: str
    versions: tuple[tuple[int, bytes], ...]
    version: int
    trashed: bool = False
    folder_id: str | None = None
    title_version: int = 1

    @property
    def content_version(self) -> int:
        """The version that last changed the text."""
        return self.versions[-1][0]

    @property
    def text(self) -> bytes:
        """The current text."""
        return self.versions[-1][1]


@dataclass(frozen=True)
class Folder:
    """Head of a folder."""

    id: str
    workspace_id: str
    title: str
    parent_id: str | None = None
    version: int = 1


@dataclass
class Documents:
    """Everything the service has stored, and the outbox."""

    new_id: Callable[[], UUID]
    documents: dict[str, Document] = field(default_factory=dict)
    folders: dict[str, Folder] = field(default_factory=dict)
    results: dict[tuple[str, str], tuple[bytes, Json, bytes | None]] = field(default_factory=dict)
    members: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    """(workspace, user) -> role or "" and version."""
    grants: dict[str, tuple[frozenset[str], int]] = field(default_factory=dict)
    """Restricted document -> who may edit it, and the version of its rules."""
    outbox: list[Envelope] = field(default_factory=list)
    placements: dict[UUID, int] = field(default_factory=dict)
    """What was announced as placed elsewhere."""
    lost: list[str] = field(default_factory=list)
    """What the model itself saw go wrong."""

    def copy(self) -> "Documents":
        """A backup."""
        names = ("documents", "folders", "results", "members", "grants", "placements")
        tables: Json = {name: dict(getattr(self, name)) for name in names}
        return replace(self, **tables, outbox=list(self.outbox))

    # Rights

    def role(self, user: str, workspace_id: str) -> str:
        """Somebody's role, "" for none."""
        return self.members.get((workspace_id, user), ("", 0))[0]

    def may_read(self, user: str, document: Document) -> bool:
        """Whether somebody may read it now."""
        if not self.role(user, document.workspace_id):
            return False
        rules = self.grants.get(document.id)
        return rules is None or user in rules[0]

    def may_edit(self, user: str, document: Document) -> bool:
        """Whether somebody may write it now."""
        return self.may_read(user, document) and self.role(user, document.workspace_id) != "viewer"

    def set_member(self, workspace_id: str, user: str, role: str) -> None:
        """Somebody joins, changes their role or goes ("")."""
        before, version = self.members.get((workspace_id, user), ("", 0))
        if before == role:
            return
        self.members[workspace_id, user] = (role, version + 1)
        data = {"workspace_id": workspace_id, "user_id": user, "role": role or before, "removed": not role}
        self._tell(
            "auth-gateway.membership.changed.v1", membership_id(UUID(workspace_id), UUID(user)), version + 1, data
        )

    def restrict(self, document_id: str, users: frozenset[str] | None) -> None:
        """Let only these read a document, or again everybody who may read its workspace."""
        document = self.documents[document_id]
        version = self.grants.get(document_id, (frozenset(), document.version * 0))[1] + 1
        old = document.root_id
        if users is None:
            self.grants.pop(document_id, None)
            new = document.workspace_id
        else:
            self.grants[document_id] = (users, version)
            new = document_id
        data = {
            "root_id": document_id, "workspace_id": document.workspace_id, "inherits": False, "removed": users is None,
            "grants": {f"user:{user}": "editor" for user in sorted(users or ())},
        }  # fmt: skip
        rules = self._rules_version(document_id)
        self._tell("documents.root.changed.v1", root_aggregate(UUID(document_id)), rules, data)
        if old != new:
            moved = replace(document, root_id=new, version=document.version + 1)
            self.documents[document_id] = moved
            self._tell_document(moved, "updated", previous_root_id=old)
            if users is not None:
                self.placements[UUID(document_id)] = moved.version

    def _rules_version(self, document_id: str) -> int:
        key = ("rules", document_id)
        told = self.members.get(key, ("", 0))[1] + 1
        self.members[key] = ("", told)
        return told

    # Operations

    def carry_out(self, user: str, device: str, known_up_to: int, ops: Sequence[Json]) -> list[Json] | None:
        """Results; None if the device was forked."""
        if any((user, op["op_id"]) not in self.results for op in ops if op["n"] <= known_up_to):
            return None
        results: list[Json] = []
        undone: set[str] = set()
        said: dict[tuple[str, str], bytes] = {}
        for op in ops:
            result = self._one(user, device, op, undone, said)
            if "content" in op:
                said[op["id"], sha256(op["content"].encode())] = op["content"].encode()
            if result["status"] in ("rejected", "blocked", "conflict"):
                undone.add(op["id"])
            results.append(result)
        return results

    def _one(self, user: str, device: str, op: Json, undone: set[str], said: Mapping[Any, bytes]) -> Json:
        key = (user, op["op_id"])
        named = {"op_id": op["op_id"], "n": op["n"], "entity": op["entity"], "id": op["id"]}
        digest = repr(sorted((name, str(value)) for name, value in op.items() if name != "n")).encode()
        if key in self.results and self.results[key][0] != digest:
            return {**named, "status": "rejected", "code": "op_id_reused"}
        if key in self.results:
            return {**named, **self.results[key][1], "duplicate": True}
        payload = None
        if undone & {op["id"], op.get("parent_id")}:
            fields: Json = {"status": "blocked"}
        else:
            fields = self._verb(user, device, op, said)
        if fields["status"] in ("merged", "rejected", "blocked") and "content" in op:
            payload = op["content"].encode()
        self.results[key] = (digest, fields, payload)
        return {**named, **fields}

    def _verb(self, user: str, device: str, op: Json, said: Mapping[Any, bytes]) -> Json:  # noqa: C901, PLR0911
        who = {"actor": user, "deviceid": device, "opid": op["op_id"]}
        if op["entity"] == "folder":
            return self._folder_verb(user, op, who)
        document = self.documents.get(op["id"])
        if op["type"] == "create" and document is None:
            return self._create(user, op, who)
        if document is None or not self.may_read(user, document):
            return {"status": "rejected", "code": "document_not_found"}
        if not self.may_edit(user, document):
            return {"status": "rejected", "code": "role_insufficient"}
        match op["type"]:
            case "create":
                return self._update(user, document, {**op, "base_version": 0, "base_hash": None}, who, said)
            case "update":
                return self._update(user, document, op, who, said)
            case "delete" | "restore":
                return self._bin(document, op, who)
            case "meta":
                return self._save(replace(document, title=op["title"]), "updated", who)
            case "move":
                if op["parent_id"] and op["parent_id"] not in self.folders:
                    return {"status": "rejected", "code": "folder_not_found"}
                return self._save(replace(document, folder_id=op["parent_id"]), "updated", who)
        raise AssertionError(op["type"])

    def _create(self, user: str, op: Json, who: Json) -> Json:
        if self.role(user, op["workspace_id"]) in ("", "viewer"):
            return {"status": "rejected", "code": "role_insufficient"}
        folder = op["parent_id"] if op["parent_id"] in self.folders else None
        text = op["content"].encode()
        document = Document(
            op["id"], op["workspace_id"], op["workspace_id"], op["title"], ((1, text),), 1, folder_id=folder
        )
        self.documents[document.id] = document
        self._tell_document(document, "created", who)
        return {"status": "applied", **_state(document)}

    def _update(self, user: str, document: Document, op: Json, who: Json, said: Mapping[Any, bytes]) -> Json:
        proposed = op["content"].encode()
        base = self._base(user, document, op, said)
        step = ladder.step(sha256(document.text), sha256(proposed), None if base is None else sha256(base))
        if step is ladder.Step.NOTHING:
            return {"status": "noop", **_state(document)}
        text = proposed
        if step is ladder.Step.MERGE and base is not None:
            merged = domain.merge_edits(base, document.text, proposed)
            if merged.content is None:
                step = ladder.Step.COPY
            else:
                text = merged.content
        if document.trashed:
            self._save(replace(document, trashed=False), "restored", who)
            document = self.documents[document.id]
        if step is ladder.Step.COPY:
            return self._copy(document, op, proposed, who)
        self._check_nothing_lost(op, base, document.text, proposed, text)
        if text == document.text:
            return {"status": "merged", **_state(document), "content": text.decode()}
        saved = self._save(document, "updated", who, text)
        merged_too = {"status": "merged", "content": text.decode()} if step is ladder.Step.MERGE else {}
        return {**saved, **merged_too}

    def _check_nothing_lost(self, op: Json, base: bytes | None, before: bytes, proposed: bytes, after: bytes) -> None:
        """What others wrote stays unless its author had seen and removed it; what the author wrote is there."""
        made_from = op.get("oracle", base or b"")
        old, mine, result = (frozenset(text.split()) for text in (before, proposed, after))
        from_ = frozenset(made_from.split())
        if missing := (old - (from_ - mine)) - result:
            self.lost.append(f"update of {op['id'][-6:]} overwrote {sorted(missing)[:3]}")
        if missing := (mine - (from_ - old)) - result:
            self.lost.append(f"update of {op['id'][-6:]} lost its own {sorted(missing)[:3]}")

    def _base(self, user: str, document: Document, op: Json, said: Mapping[Any, bytes]) -> bytes | None:
        by_hash = [(n, text) for n, text in document.versions if sha256(text) == op["base_hash"]]
        up_to = [(n, text) for n, text in document.versions if n <= op["base_version"]]
        found = up_to[-1:] + by_hash[-1:]
        chosen = ladder.base_of(
            op["base_version"], op["base_hash"], [ladder.Known(sha256(text), n) for n, text in found]
        )
        if chosen:
            return next(text for n, text in found if n == chosen.version)
        if (text := said.get((document.id, op["base_hash"]))) is not None:
            return text
        for (owner, _), (_, fields, payload) in self.results.items():
            if owner == user and fields["status"] == "merged" and payload and sha256(payload) == op["base_hash"]:
                return payload
        return None

    def _copy(self, document: Document, op: Json, text: bytes, who: Json) -> Json:
        id_ = str(uuid5(UUID(op["op_id"]), "conflict copy"))
        copy = Document(
            id_, document.workspace_id, document.root_id, document.title, ((1, text),), 1, folder_id=document.folder_id
        )
        if document.root_id == document.id:
            copy = replace(copy, root_id=id_)
            self.grants[id_] = self.grants[document.id]
            data = {
                "root_id": id_, "workspace_id": document.workspace_id, "inherits": False, "removed": False,
                "grants": {f"user:{user}": "editor" for user in sorted(self.grants[id_][0])},
            }  # fmt: skip
            self._tell("documents.root.changed.v1", root_aggregate(UUID(id_)), self._rules_version(id_), data)
        self.documents[id_] = copy
        self._tell_document(copy, "created", who, conflict_of=document.id)
        return {"status": "conflict", "conflict_document_id": id_, **_state(document)}

    def _bin(self, document: Document, op: Json, who: Json) -> Json:
        deletes = op["type"] == "delete"
        if document.trashed == deletes:
            return {"status": "noop", **_state(document)}
        if deletes and not ladder.deletes(document.content_version, op.get("base_version")):
            return {"status": "noop", "flags": ["kept"], **_state(document)}
        return self._save(replace(document, trashed=deletes), "trashed" if deletes else "restored", who)

    def _folder_verb(self, user: str, op: Json, who: Json) -> Json:  # noqa: PLR0911
        folder = self.folders.get(op["id"])
        if op["type"] == "create" and folder is None:
            if self.role(user, op["workspace_id"]) in ("", "viewer"):
                return {"status": "rejected", "code": "role_insufficient"}
            parent = op["parent_id"] if op["parent_id"] in self.folders else None
            folder = Folder(op["id"], op["workspace_id"], op["title"], parent)
            self.folders[folder.id] = folder
            self._tell_folder(folder, "created", who)
            return {"status": "applied", "version": 1}
        if folder is None or self.role(user, folder.workspace_id) in ("", "viewer"):
            return {"status": "rejected", "code": "folder_not_found"}
        if op["type"] == "create":
            return {"status": "noop", "version": folder.version}
        if op["type"] == "move" and op["parent_id"] is not None:
            if op["parent_id"] not in self.folders:
                return {"status": "rejected", "code": "folder_not_found"}
            if folder.id in self.line(op["parent_id"]):
                return {"status": "rejected", "code": "folder_cycle"}
        changes = {"parent_id": op["parent_id"]} if op["type"] == "move" else {"title": op["title"]}
        folder = replace(folder, **changes, version=folder.version + 1)
        self.folders[folder.id] = folder
        self._tell_folder(folder, "updated", who)
        return {"status": "applied", "version": folder.version}

    def line(self, folder_id: str | None) -> Iterator[str]:
        """A folder and those above it."""
        while folder_id is not None:
            yield folder_id
            folder_id = self.folders[folder_id].parent_id

    def _save(self, document: Document, kind: str, who: Json, text: bytes | None = None) -> Json:
        version = document.version + 1
        versions = (*document.versions, (version, text)) if text is not None else document.versions
        document = replace(document, version=version, versions=versions)
        self.documents[document.id] = document
        self._tell_document(document, kind, who)
        return {"status": "applied", **_state(document)}

    # Events

    def _tell_document(self, document: Document, kind: str, who: Json | None = None, **more: Any) -> None:
        data = {
            "document_id": document.id, "workspace_id": document.workspace_id, "access_root_id": document.root_id,
            "version": document.version, "content_version": document.content_version,
            "content_hash": sha256(document.text), "size": len(document.text), "title": document.title,
            "folder_id": document.folder_id, "trashed": document.trashed, **more,
        }  # fmt: skip
        self._tell(f"documents.document.{kind}.v1", UUID(document.id), document.version, data, who)

    def _tell_folder(self, folder: Folder, kind: str, who: Json | None) -> None:
        data = {
            "folder_id": folder.id, "workspace_id": folder.workspace_id, "access_root_id": folder.workspace_id,
            "parent_id": folder.parent_id, "name": folder.title, "version": folder.version,
        }  # fmt: skip
        self._tell(f"documents.folder.{kind}.v1", UUID(folder.id), folder.version, data, who)

    def _tell(self, type_: str, aggregate: UUID, version: int, data: Json, who: Json | None = None) -> None:
        self.outbox.append(Envelope(self.new_id(), type_, aggregate, version, THEN, data, who or {}))


def _state(document: Document) -> Json:
    return {
        "version": document.version, "content_version": document.content_version,
        "content_hash": sha256(document.text),
    }  # fmt: skip
