"""What a device knows and wants: heads as the server told them, and a queue of what its user did. No I/O.

Every method is one step of the protocol; the store makes each durable as a whole before the next begins.
"""

import hashlib
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str]
"""Entity and id."""

PUSHED_AT_ONCE = 100
TEXT = ("create", "update")


def sha256(text: str) -> str:
    """Hash of a text, as the protocol has it."""
    return hashlib.sha256(text.encode()).hexdigest()


def checksum(entity: str, id_: str, version: int, content_hash: str | None) -> int:
    """What one entity adds to its scope's sum."""
    text = f"{entity}:{id_}:{version}:{content_hash or ''}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class Table(dict[Any, Any]):
    """A dictionary that remembers what was changed since it was last written."""

    def __init__(self, *rows: Any) -> None:
        super().__init__(*rows)
        self.changed: set[Any] = set()

    def __setitem__(self, key: Any, value: Any) -> None:
        self.changed.add(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        self.changed.add(key)
        super().__delitem__(key)

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove and return."""
        self.changed.add(key)
        return super().pop(key, *default)


class Queue(Table):
    """Operations by number; finds those of one entity."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[Key, list[int]] = defaultdict(list)

    def __setitem__(self, n: int, op: Json) -> None:
        self._note(n, op)
        super().__setitem__(n, op)

    def update(self, rows: Mapping[int, Json]) -> None:  # type: ignore[override]
        """Take what the store has, in whatever order."""
        for n, op in sorted(rows.items()):
            self._note(n, op)
            super().__setitem__(n, op)
        self.changed.clear()

    def pop(self, n: int) -> Any:  # type: ignore[override]
        """Remove and return."""
        self._forget(n)
        return super().pop(n)

    def of(self, entity: str, id_: str) -> list[Json]:
        """Operations on it, in order."""
        return [self[n] for n in self._numbers.get((entity, id_), ())]

    def _note(self, n: int, op: Json) -> None:
        self._forget(n)
        insort(self._numbers[op["entity"], op["id"]], n)

    def _forget(self, n: int) -> None:
        if n in self:
            key = (self[n]["entity"], self[n]["id"])
            self._numbers[key].remove(n)
            if not self._numbers[key]:
                del self._numbers[key]


class State:
    """A device's state, in four tables; `new_id` makes UUIDs of version 7."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self.meta = Table()
        """`device_id`, `cursor`, `page_token`, `last_n`, `mode` of a bootstrap under way."""
        self.heads = Table()
        """Key -> head as the server told it last, with its text if that is known."""
        self.held = Table()
        """(scope, entity, id) -> (version, hash): what checksums are over."""
        self.queue = Queue()
        """Number -> operation; `sent` ones are never changed again."""
        self.drafts = Table()
        """Operation -> text the server would not take, and of which document: the user's own."""
        self.roles = Table()

    @property
    def tables(self) -> dict[str, Table]:
        """All of them, by name."""
        names = ("meta", "heads", "held", "queue", "drafts", "roles")
        return {name: getattr(self, name) for name in names}

    # What the user sees and does

    def text(self, document_id: str) -> str | None:
        """The text as its user sees it: with what is not sent yet."""
        for op in reversed(self.queue.of("document", document_id)):
            if op["type"] in TEXT:
                return str(op["content"])
        head = self.heads.get(("document", document_id))
        return head["content"] if head else None

    def create(self, workspace_id: str, title: str, content: str = "", parent_id: str | None = None) -> str:
        """A new document; its id."""
        return self._enqueue(
            "document", "create", self._new_id(), workspace_id=workspace_id, title=title, parent_id=parent_id,
            content=content, content_hash=sha256(content),
        )  # fmt: skip

    def create_folder(self, workspace_id: str, title: str, parent_id: str | None = None) -> str:
        """A new folder; its id."""
        return self._enqueue(
            "folder", "create", self._new_id(), workspace_id=workspace_id, title=title, parent_id=parent_id
        )

    def edit(self, document_id: str, content: str) -> None:
        """The user typed: what has not been sent is replaced, else a new operation builds on what was."""
        queued = [op for op in self.queue.of("document", document_id) if op["type"] in TEXT]
        if queued and not queued[-1]["sent"]:
            # Under another id: a backup of this device may hold the operation as it was.
            self._replace(queued[-1], op_id=self._new_id(), content=content, content_hash=sha256(content))
            return
        head = self.heads.get(("document", document_id))
        base = queued[-1]["content_hash"] if queued else head["content_hash"] if head else None
        version = head["version"] if head else 0
        self._enqueue(
            "document", "update", document_id, base_version=version, base_hash=base, content=content,
            content_hash=sha256(content),
        )  # fmt: skip

    def change(self, entity: str, type_: str, id_: str, **fields: Any) -> None:
        """Rename (`meta`), move, delete, restore."""
        head = self.heads.get((entity, id_))
        known = {"base_version": head["version"]} if head else {}
        self._enqueue(entity, type_, id_, **known, **fields)

    # Pull

    def take_page(self, page: Mapping[str, Any]) -> None:
        """One answer to a pull, with its cursor: all of it or nothing."""
        for scope in page["scopes_removed"]:
            self._leave(scope)
        self._take(page["changes"], page["roles"])
        self.meta["cursor"] = page["cursor"]

    def begin_bootstrap(self, mode: str) -> None:
        """Everything is told anew; the queue and what is held stay meanwhile."""
        self.meta["mode"], self.meta["page_token"], self.meta["cursor"] = mode, None, None
        self.meta["before"] = [list(key) for key in self.held]
        for key in list(self.held):
            del self.held[key]

    def take_bootstrap(self, page: Mapping[str, Any]) -> None:
        """One page of everything; with the last, what it did not hold is deleted, or handed in (`mode`)."""
        for scope in page["scopes_removed"]:
            self._leave(scope)
        self._take(page["items"], page["roles"], newer=self.meta["mode"] == "upload_differences")
        self.meta["page_token"], self.meta["cursor"] = page["page_token"], page["cursor"]
        if page["cursor"] is None:
            return
        alive = {(entity, id_) for _, entity, id_ in self.held}
        for entity, id_ in list(self.heads):
            if (entity, id_) not in alive:
                self._not_told(entity, id_)
        self.meta["mode"] = None

    def _not_told(self, entity: str, id_: str) -> None:
        """What the server does not know, or does not show any more."""
        head = self.heads[entity, id_]
        if self.meta["mode"] == "upload_differences" and not self.queue.of(entity, id_):
            made_of = {"workspace_id": head["data"].get("workspace_id"), "title": head["title"] or "",
                       "parent_id": head["parent_id"]}  # fmt: skip
            if entity == "folder":
                self._enqueue("folder", "create", id_, **made_of)
            elif entity == "document" and head["content"] is not None:
                text = {name: head[name] for name in ("content", "content_hash")}
                self._enqueue("document", "create", id_, **made_of, **text)
        if self.queue.of(entity, id_):
            self.heads[entity, id_] = {**head, "version": 0}  # whatever comes next is newer
        else:
            del self.heads[entity, id_]

    def _take(self, changes: Iterable[Json], roles: Mapping[str, str], *, newer: bool = False) -> None:
        for scope, role in roles.items():
            self.roles[scope] = role
        for change in changes:
            if change["kind"] == "upsert":
                self._upsert(change, newer=newer)
            else:
                self._remove(change)

    def _upsert(self, change: Json, *, newer: bool) -> None:
        key = (change["entity"], change["id"])
        place = (change["scope"], *key)
        if place in self.held and self.held[place][0] > change["version"]:
            return
        self.held[place] = (change["version"], change["content_hash"])
        known = self.heads.get(key)
        if known and newer and known["content_hash"] != change["content_hash"]:
            self._hand_in(key, known)  # the server may have lost what we know; if not, it says so
        elif known and known["version"] > change["version"] and not newer:
            return
        text = change.get("content")
        if text is None and known and known["content_hash"] == change["content_hash"]:
            text = known["content"]
        names = ("version", "content_hash", "title", "parent_id", "data")
        self.heads[key] = {
            **{name: change[name] for name in names}, "content": text, "content_url": change.get("content_url"),
        }  # fmt: skip

    def _hand_in(self, key: Key, known: Json) -> None:
        if key[0] == "document" and known["content"] is not None and not self.queue.of(*key):
            self._enqueue(
                *("document", "update", key[1]), base_version=known["version"], base_hash=known["content_hash"],
                content=known["content"], content_hash=known["content_hash"],
            )  # fmt: skip

    def _remove(self, change: Json) -> None:
        key = (change["entity"], change["id"])
        place = (change["scope"], *key)
        if place in self.held and self.held[place][0] <= change["version"]:
            del self.held[place]
        self._drop_if_free(key)

    def _leave(self, scope: str) -> None:
        gone = [place for place in self.held if place[0] == scope]
        for place in gone:
            del self.held[place]
        self.roles.pop(scope, None)
        for _, entity, id_ in gone:
            self._drop_if_free((entity, id_))

    def _drop_if_free(self, key: Key) -> None:
        """Forget what is in no scope any more; what is queued for it keeps its own text."""
        if key in self.heads and not self._is_held(key):
            del self.heads[key]

    def _is_held(self, key: Key) -> bool:
        return any((scope, *key) in self.held for scope in self.roles)

    # Push

    def to_push(self) -> list[Json]:
        """The next operations, from now on as they are."""
        chosen = [self.queue[n] for n in islice(self.queue, PUSHED_AT_ONCE)]
        for op in chosen:
            if not op["sent"]:
                self._replace(op, sent=True)
        return [{name: value for name, value in self.queue[op["n"]].items() if name != "sent"} for op in chosen]

    def take_results(self, results: Iterable[Json]) -> None:
        """What became of them."""
        copies: dict[str, tuple[str, str]] = {}
        for result in results:
            if result["status"] == "retry":
                return
            op = self.queue.pop(result["n"])
            self.meta["last_n"] = max(self.meta.get("last_n", 0), op["n"])
            self._settle(op, result, copies)
            if not self.queue.of(op["entity"], op["id"]):
                self._drop_if_free((op["entity"], op["id"]))

    def _settle(self, op: Json, result: Json, copies: dict[str, tuple[str, str]]) -> None:
        match result["status"]:
            case "applied" | "noop" | "merged":
                self._advance(op, result)
            case "conflict":
                copies[op["id"]] = (result["conflict_document_id"], op["content_hash"])
                self._retarget(op["id"], *copies[op["id"]])
            case "blocked" if op["id"] in copies and op["type"] == "update":
                self._follow(op, *copies[op["id"]])
                copies[op["id"]] = (copies[op["id"]][0], op["content_hash"])
            case _ if op["type"] in TEXT and op["entity"] == "document":
                self.drafts[op["op_id"]] = {"document_id": op["id"], "content": op["content"]}

    def _advance(self, op: Json, result: Json) -> None:
        """The head is at least what was answered; what it holds of scopes is the next pull's business."""
        key = (op["entity"], op["id"])
        head = self.heads.get(key)
        if head is None or result.get("version", 0) < head["version"]:
            return
        new = {**head, "version": result["version"]}
        if op["type"] == "update" and "content_hash" in result:
            known = {op["content_hash"]: op["content"], head["content_hash"]: head["content"]}
            text = known.get(result["content_hash"]) or result.get("content")
            new |= {"content_hash": result["content_hash"], "content": text, "content_url": result.get("content_url")}
        self.heads[key] = new

    def _retarget(self, document_id: str, copy_id: str, base_hash: str) -> None:
        """The user typed on in a text that is a document of its own now."""
        for op in self.queue.of("document", document_id):
            if op["type"] == "update" and not op["sent"]:
                self._replace(op, id=copy_id, base_version=1, base_hash=base_hash)

    def _follow(self, op: Json, copy_id: str, base_hash: str) -> None:
        self._enqueue(
            "document", "update", copy_id, base_version=1, base_hash=base_hash, content=op["content"],
            content_hash=op["content_hash"],
        )  # fmt: skip

    def renumber(self, first: int) -> None:
        """The server expects this number next."""
        queued = [self.queue.pop(n) for n in list(self.queue)]
        for at, op in enumerate(queued, first):
            self.queue[at] = {**op, "n": at}
        self.meta["last_n"] = first - 1

    def become_another_device(self) -> None:
        """This state was copied, or restored from a backup: go on under a new id; the operations keep theirs."""
        self.meta["device_id"] = self._new_id()
        self.renumber(1)
        self.begin_bootstrap("apply_differences")

    def _enqueue(self, entity: str, type_: str, id_: str, **fields: Any) -> str:
        n = max(self.meta.get("last_n", 0), next(reversed(self.queue), 0)) + 1
        op = {"op_id": self._new_id(), "n": n, "entity": entity, "type": type_, "id": id_, "sent": False, **fields}
        self.queue[n] = op
        return id_

    def _replace(self, op: Json, **fields: Any) -> None:
        self.queue[op["n"]] = {**op, **fields}

    # Verify

    def sums(self, scope: str) -> Json:
        """Count and sum of what is held in a scope."""
        return _summed(self._held_in(scope))

    def buckets(self, scope: str) -> list[Json]:
        """The same by the last byte of ids."""
        found: dict[int, list[tuple[str, str, int, str | None]]] = defaultdict(list)
        for one in self._held_in(scope):
            found[int(one[1][-2:], 16)].append(one)
        return [_summed(found[bucket]) for bucket in range(256)]

    def repair(self, answer: Mapping[str, Any]) -> None:
        """Take what the server has in the buckets that differ."""
        scope, buckets = answer["scope"], {one["bucket"] for one in answer["differs"]}
        told = [change for one in answer["differs"] for change in one["changes"]]
        kept = {(change["entity"], change["id"]) for change in told}
        for place in [place for place in self.held if place[0] == scope and int(place[2][-2:], 16) in buckets]:
            del self.held[place]
            if (key := place[1:]) not in kept:
                self._drop_if_free(key)
            elif key in self.heads:
                self.heads[key] = {**self.heads[key], "version": 0}
        self._take(told, {})

    def _held_in(self, scope: str) -> Iterable[tuple[str, str, int, str | None]]:
        return (
            (entity, id_, version, hash_)
            for (place, entity, id_), (version, hash_) in self.held.items()
            if place == scope
        )


def _summed(held: Iterable[tuple[str, str, int, str | None]]) -> Json:
    sums = [checksum(*one) for one in held]
    return {"count": len(sums), "sum": f"{sum(sums) % 2**64:016x}"}
