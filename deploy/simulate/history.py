"""One history: a seeded scheduler over devices, server and bus; afterwards everything must have come together."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from common.messaging import Envelope
from deploy.device.state import State
from deploy.device.stores import MemoryStore
from deploy.simulate.documents import Documents, sha256
from deploy.simulate.sync import RefusedError, Sync

Json = dict[str, Any]

ROUNDS = 200
"""Of pull and push, within which all must be at rest."""
MENDED = 20
"""Answers in a row that ask a device to begin in another way."""


@dataclass
class Held:
    """A device: its state, its disk, an old copy of the disk."""

    user: str
    state: State
    store: MemoryStore
    backup: MemoryStore | None = None
    typed: set[str] = field(default_factory=set)
    """Words its user wrote and did not delete again."""


@dataclass
class Outcome:
    """What a history came to."""

    seed: int
    steps: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)


class History:
    """A seed's history."""

    def __init__(self, seed: int, steps: int) -> None:
        self.random = random.Random(seed)
        self.outcome = Outcome(seed)
        self._steps = steps
        self._tokens = 0
        self._bus: list[Envelope] = []
        self._secrets: set[str] = set()
        self._owed: dict[str, tuple[str, str]] = {}
        """Operation answered as done -> document and text."""
        self._sent: dict[str, Json] = {}
        self.documents = Documents(self.new_uuid)
        self.sync = Sync(self.documents, self.new_uuid, self.new_uuid())
        self._backup: tuple[Documents, Sync, list[Envelope], dict[str, tuple[str, str]]] | None = None
        self.workspaces = [self.new_id() for _ in range(self.random.randint(1, 2))]
        users = [self.new_id() for _ in range(self.random.randint(1, 3))]
        for number, user in enumerate(users):
            for workspace_id in self.workspaces:
                self.documents.set_member(workspace_id, user, "editor" if number < 2 else "viewer")
        self.users = users
        self.devices = [self._device(self.random.choice(users)) for _ in range(self.random.randint(2, 6))]

    def new_uuid(self) -> UUID:
        """Of version 4: clocks decide nothing."""
        return UUID(int=self.random.getrandbits(128), version=4)

    def new_id(self) -> str:
        """The same as text."""
        return str(self.new_uuid())

    def run(self) -> Outcome:
        """Play it, let it come to rest, look."""
        verbs, weights = zip(*self.actions(), strict=True)
        try:
            for verb in self.random.choices(verbs, weights, k=self._steps):
                self.outcome.steps += 1
                verb()
            self._come_to_rest()
            self._look()
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever breaks is a finding
            self._violated(f"{type(error).__name__}: {error}")
        self.outcome.violations += self.documents.lost
        return self.outcome

    def actions(self) -> list[tuple[Callable[[], None], float]]:
        """What can happen, and how often."""
        return [
            (self._edit, 10), (self._create, 3), (self._rename, 2), (self._bin, 2), (self._move, 2), (self._folder, 2),
            (self._pull, 8), (self._push, 8), (self._deliver, 8), (self._crash, 1), (self._back_up_device, 0.5),
            (self._restore_device, 0.3), (self._restrict, 1), (self._member, 1), (self._forget, 0.3),
            (self._back_up_server, 0.3), (self._restore_server, 0.15), (self._new_device, 0.2),
        ]  # fmt: skip

    # What happens

    def _device(self, user: str) -> Held:
        device = Held(user, State(self.new_id), MemoryStore())
        device.state.meta["device_id"] = self.new_id()
        device.store.commit(device.state)
        return device

    def _some(self) -> Held:
        return self.random.choice(self.devices)

    def _token(self) -> str:
        self._tokens += 1
        return f"t{self._tokens}"

    def _known(self, device: Held) -> list[str]:
        known = [id_ for entity, id_ in device.state.heads if entity == "document"]
        queued = [op["id"] for op in device.state.queue.values() if op["entity"] == "document"]
        return sorted({*known, *queued})

    def _create(self) -> None:
        device = self._some()
        text = "\n\n".join(self._token() for _ in range(self.random.randint(1, 5))) + "\n"
        folders = [id_ for entity, id_ in device.state.heads if entity == "folder"]
        parent = self.random.choice(folders) if folders and self.random.random() < 0.3 else None
        id_ = device.state.create(self.random.choice(self.workspaces), self._token(), text, parent)
        device.typed |= set(text.split())
        self._did(device, f"creates {id_[-6:]}")

    def _edit(self) -> None:
        device = self._some()
        if not (known := self._known(device)):
            return
        id_ = self.random.choice(known)
        text = device.state.text(id_)
        if text is None:
            return
        lines = text.split("\n\n")
        at = self.random.randrange(len(lines))
        match self.random.random():
            case chance if chance < 0.6:
                lines.insert(at, self._token())
            case chance if chance < 0.85:
                lines[at] = self._token() + ("\n" if at == len(lines) - 1 else "")
            case _ if len(lines) > 1:
                del lines[at]
        new = "\n\n".join(lines)
        device.typed = (device.typed | (set(new.split()) - set(text.split()))) - (set(text.split()) - set(new.split()))
        device.state.edit(id_, new)
        self._did(device, f"edits {id_[-6:]}")

    def _rename(self) -> None:
        device = self._some()
        if known := self._known(device):
            device.state.change("document", "meta", self.random.choice(known), title=self._token())
            self._did(device, "renames")

    def _bin(self) -> None:
        device = self._some()
        if known := self._known(device):
            id_ = self.random.choice(known)
            device.state.change("document", self.random.choice(["delete", "delete", "restore"]), id_)
            self._did(device, f"trashes or restores {id_[-6:]}")

    def _folder(self) -> None:
        device = self._some()
        folders = [id_ for entity, id_ in device.state.heads if entity == "folder"]
        parent = self.random.choice(folders) if folders and self.random.random() < 0.5 else None
        device.state.create_folder(self.random.choice(self.workspaces), self._token(), parent)
        self._did(device, "makes a folder")

    def _move(self) -> None:
        device = self._some()
        folders = [id_ for entity, id_ in device.state.heads if entity == "folder"]
        documents = [id_ for entity, id_ in device.state.heads if entity == "document"]
        entity = self.random.choice(["document", "folder"])
        movable = documents if entity == "document" else folders
        if movable and folders:
            where = self.random.choice([*folders, None])
            device.state.change(entity, "move", self.random.choice(movable), parent_id=where)
            self._did(device, f"moves a {entity}")

    def _did(self, device: Held, what: str) -> None:
        device.store.commit(device.state)
        self._note(device, what)

    def _note(self, device: Held | None, what: str) -> None:
        name = f"device {self.devices.index(device)}" if device in self.devices and device else "server"
        self.outcome.trace.append(f"{self.outcome.steps}: {name} {what}")

    def _pull(self, device: Held | None = None, *, reliable: bool = False) -> None:
        device = device or self._some()
        limit = self.random.choice([1, 2, 3, 10, 100])
        for _ in range(self.random.randint(1, 3)):
            if not self._pull_once(device, limit, reliable=reliable):
                return

    def _pull_once(self, device: Held, limit: int, *, reliable: bool) -> bool:
        """Whether there is more."""
        state = device.state
        for _ in range(MENDED):
            try:
                bootstraps = state.meta.get("cursor") is None
                page = self._ask(device, limit, bootstraps)
            except RefusedError as error:
                self._mend(device, error)
                continue
            if not reliable and self.random.random() < 0.1:
                self._note(device, "asks twice and gets the first answer")
                self._deliver()
                self._ask(device, self.random.choice([1, limit, 100]), bootstraps)
            if not reliable and self.random.random() < 0.15:
                self._note(device, "loses the answer to a pull")
                if self.random.random() < 0.5:
                    self._ask(device, limit, bootstraps)  # and asks twice
                return True
            self._check_rights(device, page)
            if bootstraps:
                state.take_bootstrap({**page, **_as_bootstrap(page)})
            else:
                state.take_page(page)
                self._check_sums(device, page)
            device.store.commit(state)
            self._note(device, f"pulls {len(page['changes'])} changes")
            return bool(page["has_more"])
        raise AssertionError("a device cannot get out of its errors")

    def _ask(self, device: Held, limit: int, bootstraps: bool) -> Json:
        meta = device.state.meta
        if not bootstraps:
            return self.sync.go_on(device.user, meta["cursor"], limit)
        if meta.get("mode") is None:
            device.state.begin_bootstrap("apply_differences")
        if meta.get("page_token"):
            return self.sync.go_on(device.user, meta["page_token"], limit)
        return self.sync.begin(device.user, meta["device_id"], limit)

    def _push(self, device: Held | None = None, *, reliable: bool = False) -> None:
        device = device or self._some()
        if not device.state.queue:
            return
        ops = device.state.to_push()
        device.store.commit(device.state)
        for op in ops:
            if "content" in op:
                self._sent.setdefault(op["op_id"], {**op, "device": device})
        if not reliable and self.random.random() < 0.1:
            self._note(device, "loses a push on its way")
            return
        try:
            results = self.sync.push(device.user, device.state.meta["device_id"], ops)
            if not reliable and self.random.random() < 0.1:
                results = self.sync.push(device.user, device.state.meta["device_id"], ops)
        except RefusedError as error:
            self._mend(device, error)
            return
        if not reliable and self.random.random() < 0.15:
            self._note(device, f"loses the answer to {len(ops)} operations")
            return
        device.state.take_results(results)
        device.store.commit(device.state)
        self._count(ops, results)
        self._note(device, "pushes: " + " ".join(result["status"] for result in results))

    def _count(self, ops: list[Json], results: list[Json]) -> None:
        copied = {result["id"] for result in results if result["status"] == "conflict"}
        for op, result in zip(ops, results, strict=True):
            self.outcome.statuses[result["status"]] += 1
            if result["status"] == "blocked" and op["id"] in copied:
                self._sent.pop(op["op_id"], None)  # it goes on as an operation on the copy
            if result["status"] in ("applied", "noop", "merged", "conflict") and "content" in op:
                self._owed[op["op_id"]] = (op["id"], op["content"])

    def _mend(self, device: Held, error: RefusedError) -> None:
        state, problem = device.state, error.problem
        self._note(device, f"is told {problem}")
        match problem["code"]:
            case "resync_required":
                state.begin_bootstrap(problem["mode"])
            case "device_gap":
                state.renumber(problem["expected_n"])
            case "device_forked":
                state.become_another_device()
        device.store.commit(state)

    def _deliver(self, *, everything: bool = False) -> None:
        self._bus += self.documents.outbox
        self.documents.outbox = []
        count = len(self._bus) if everything else self.random.randint(0, len(self._bus))
        self.random.shuffle(self._bus)
        batch, self._bus = self._bus[:count], self._bus[count:]
        batch += [event for event in batch if self.random.random() < 0.2]
        if batch:
            self.sync.consume(batch)

    def _crash(self) -> None:
        device = self._some()
        state = State(self.new_id)
        device.store.load(state)
        device.state = state
        self._note(device, "crashes")

    def _back_up_device(self) -> None:
        device = self._some()
        device.backup = device.store.copy()

    def _restore_device(self) -> None:
        device = self._some()
        if device.backup is None:
            return
        device.store, device.backup = device.backup, None
        self._sent = {id_: op for id_, op in self._sent.items() if op["device"] is not device or id_ in self._owed}
        device.typed = set()
        self._note(device, "is restored from a backup")
        self._crash_of(device)

    def _crash_of(self, device: Held) -> None:
        device.state = State(self.new_id)
        device.store.load(device.state)

    def _new_device(self) -> None:
        self.devices.append(self._device(self.random.choice(self.users)))

    def _restrict(self) -> None:
        if not self.documents.documents:
            return
        id_ = self.random.choice(sorted(self.documents.documents))
        if id_ in self.documents.grants and self.random.random() < 0.5:
            self.documents.restrict(id_, None)
            self._note(None, f"opens {id_[-6:]}")
            return
        count = self.random.randint(1, len(self.users))
        self.documents.restrict(id_, frozenset(self.random.sample(self.users, count)))
        self._note(None, f"restricts {id_[-6:]}")

    def _member(self) -> None:
        user, workspace_id = self.random.choice(self.users), self.random.choice(self.workspaces)
        role = self.random.choice(["", "viewer", "editor", "editor"])
        self.documents.set_member(workspace_id, user, role)
        self._note(None, f"makes somebody {role or 'leave'}")

    def _forget(self) -> None:
        self.sync.forget()
        self._note(None, "forgets removals")

    def _back_up_server(self) -> None:
        documents = self.documents.copy()
        self._backup = (documents, self.sync.copy(documents), list(self._bus), dict(self._owed))

    def _restore_server(self) -> None:
        if self._backup is None:
            return
        self.documents, self.sync, self._bus, self._owed = self._backup
        self._backup = None
        self.sync.epoch = self.new_uuid()
        self._sent = {id_: op for id_, op in self._sent.items() if id_ in self._owed}
        for device in self.devices:
            device.typed &= {
                word for op in device.state.queue.values() if "content" in op for word in op["content"].split()
            }
        self._note(None, "is restored from a backup")

    # What must hold

    def _check_rights(self, device: Held, page: Json) -> None:
        for change in page["changes"]:
            if change["kind"] == "upsert" and change["entity"] == "document":
                document = self.documents.documents.get(change["id"])
                if document and not self.documents.may_read(device.user, document):
                    self._violated(f"{change['id'][-6:]} was told to who may not read it")

    def _check_sums(self, device: Held, page: Json) -> None:
        for scope, told in page["checksums"].items():
            if device.state.sums(scope) != told:
                self._violated(f"checksum of {scope[:8]} differs: {device.state.sums(scope)} is not {told}")

    def _come_to_rest(self) -> None:
        self.outcome.trace.append("at rest")
        for _ in range(ROUNDS):
            self._deliver(everything=True)
            before = [device.state.meta.get("cursor") for device in self.devices]
            for device in self.devices:
                self._push(device, reliable=True)
                self._pull(device, reliable=True)
            after = [device.state.meta.get("cursor") for device in self.devices]
            queued = any(device.state.queue for device in self.devices)
            if before == after and None not in after and not self.documents.outbox and not queued:
                return
        self._violated("it does not come to rest")

    def _look(self) -> None:
        everywhere = {
            token for one in self.documents.documents.values() for _, text in one.versions for token in text.split()
        }
        for id_, text in self._owed.values():
            if missing := {token.encode() for token in text.split()} - everywhere:
                self._violated(f"acknowledged text of {id_[-6:]} is lost: {sorted(missing)[:3]}")
        for one in self.documents.documents.values():
            doubled = [token for token, count in Counter(one.text.split()).items() if count > 1]
            if doubled:
                self._violated(f"{one.id[-6:]} has {doubled[:3]} twice")
        done = {text for _, text in self._owed.values()}
        for op_id, op in self._sent.items():
            if op["content"] not in done and op_id not in op["device"].state.drafts:
                self._violated(f"the text of operation {op_id[-6:]} is neither done nor a draft")
        for device in self.devices:
            drafts = {word.encode() for one in device.state.drafts.values() for word in one["content"].split()}
            if missing := {word.encode() for word in device.typed} - everywhere - drafts:
                self._violated(f"what was typed on device {self.devices.index(device)} is lost: {sorted(missing)[:3]}")
            self._look_at(device)

    def _look_at(self, device: Held) -> None:
        mine = {
            (id_, head["version"], head["content_hash"], head["title"], head["content"])
            for (entity, id_), head in device.state.heads.items()
            if entity == "document"
        }
        theirs = {
            (one.id, one.version, sha256(one.text), one.title, one.text.decode())
            for one in self.documents.documents.values()
            if not one.trashed and self.documents.may_read(device.user, one)
        }
        if mine != theirs:
            self._violated(
                f"device {self.devices.index(device)} has {sorted(mine - theirs, key=str)[:2]}, "
                f"lacks {sorted(theirs - mine, key=str)[:2]}"
            )
        folders = {(id_, head["parent_id"]) for (entity, id_), head in device.state.heads.items() if entity == "folder"}
        expected = {
            (one.id, one.parent_id)
            for one in self.documents.folders.values()
            if self.documents.role(device.user, one.workspace_id)
        }
        if folders != expected:
            self._violated(f"a device has other folders: {sorted(folders ^ expected, key=str)[:2]}")

    def _violated(self, what: str) -> None:
        self.outcome.violations.append(what)
        self.outcome.trace.append(f"VIOLATION {what}")


def _as_bootstrap(page: Json) -> Json:
    more = page["has_more"]
    return {
        "items": page["changes"], "page_token": page["cursor"] if more else None,
        "cursor": None if more else page["cursor"],
    }  # fmt: skip


def play(seed: int, steps: int) -> Outcome:
    """The outcome of a seed's history."""
    return History(seed, steps).run()
