"""A model of sync: log, items, cursors in dictionaries; every decision is the service's own code."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from common.messaging import Envelope
from deploy.simulate.documents import Documents
from sync import domain
from sync.domain import Cursor, Head, Key, Position, Scope, Tally
from sync.errors import ResyncRequiredError

Json = dict[str, Any]
KEYS = (b"simulated",)
SCOPES_AT_ONCE = 2


class RefusedError(Exception):
    """What HTTP would answer."""

    def __init__(self, code: str, **extra: Any) -> None:
        super().__init__(code)
        self.problem = {"code": code, **extra}


@dataclass(frozen=True)
class Kept:
    """A stored cursor."""

    generation: int
    positions: bytes


@dataclass
class Sync:
    """Everything the service has stored."""

    documents: Documents
    new_id: Callable[[], UUID]
    epoch: UUID
    aggregates: dict[UUID, int] = field(default_factory=dict)
    parked: dict[UUID, list[Envelope]] = field(default_factory=dict)
    scopes: dict[Scope, tuple[int, int, Tally]] = field(default_factory=dict)
    """Last number, last forgotten removal, tally."""
    items: dict[Key, Json] = field(default_factory=dict)
    cursors: dict[str, dict[UUID, Kept]] = field(default_factory=dict)
    last_n: dict[str, int] = field(default_factory=dict)

    def copy(self, documents: Documents) -> "Sync":
        """A backup, beside one of `documents`."""
        tables: Json = {name: dict(getattr(self, name)) for name in ("aggregates", "scopes", "items", "last_n")}
        tables["parked"] = {key: list(events) for key, events in self.parked.items()}
        tables["cursors"] = {device: dict(kept) for device, kept in self.cursors.items()}
        return replace(self, documents=documents, **tables)

    # Events

    def consume(self, events: Sequence[Envelope]) -> None:
        """One batch, as `service.log` does it."""
        present: dict[UUID, list[Envelope]] = {}
        for event in events:
            if event.aggregate_id not in present:
                present[event.aggregate_id] = list(self.parked.pop(event.aggregate_id, []))
            present[event.aggregate_id].append(event)
        admissions = {key: domain.admit(self.aggregates.get(key, 0), found) for key, found in present.items()}
        for key, admission in admissions.items():
            if admission.park:
                self.parked[key] = admission.park
            if admission.apply:
                self.aggregates[key] = admission.apply[-1].version
        applied = domain.in_order_of_arrival({key: one.apply for key, one in admissions.items()}, events)
        if applied:
            self._log(applied)

    def _log(self, events: Sequence[Envelope]) -> None:
        about = {found[1] for event in events if (found := domain.entity_of(event))}
        held = {key: row for key, row in self.items.items() if key.id in about}
        entries = []
        for logged in domain.placed(events, held):
            seq, low, tally = self.scopes.get(logged.scope, (0, 0, Tally()))
            self.scopes[logged.scope] = (seq + 1, low, tally)
            entries.append((logged, seq + 1))
        for key, row in domain.heads(entries).items():
            seq, low, tally = self.scopes[key.scope]
            self.scopes[key.scope] = (seq, low, domain.recount(tally, held.get(key), row))
            parent = row["parent_id"]
            self.items[key] = {**row, "id": key.id, "parent_id": UUID(parent) if parent else None}

    def forget(self) -> None:
        """Removals are older than the horizon."""
        for key, row in list(self.items.items()):
            if row["gone"]:
                del self.items[key]
                seq, low, tally = self.scopes[key.scope]
                self.scopes[key.scope] = (seq, max(low, row["seq"]), tally)

    # Devices

    def push(self, user: str, device: str, ops: Sequence[Json]) -> list[Json]:
        """Results of operations. Raises `RefusedError`."""
        last_n = self.last_n.get(device, 0)
        expected = min(ops[0]["n"], last_n + 1)
        for op in ops:
            if op["n"] != expected:
                raise RefusedError("device_gap", expected_n=expected)
            expected += 1
        results = self.documents.carry_out(user, device, last_n, ops)
        if results is None:
            raise RefusedError("device_forked", expected_n=last_n + 1)
        self.last_n[device] = max([last_n, *(result["n"] for result in results)])
        return results

    def begin(self, user: str, device: str, limit: int) -> Json:
        """First page of a bootstrap."""
        generation = max([0, *(one.generation for one in self.cursors.get(device, {}).values())]) + 1
        start = Cursor(UUID(user), UUID(device), self.epoch, UUID(int=0), generation)
        return self._tell(user, start, {}, limit, used=False)

    def go_on(self, user: str, token: str, limit: int) -> Json:
        """The page behind a cursor. Raises `RefusedError`."""
        cursor = domain.read_cursor(token, KEYS)
        if cursor.epoch != self.epoch:
            raise RefusedError("resync_required", reason="epoch", mode="upload_differences")
        kept = self.cursors.get(str(cursor.device_id), {}).get(cursor.nonce)
        if kept is None:
            raise RefusedError("resync_required", reason="gone", mode="apply_differences")
        return self._tell(user, cursor, domain.unpack(kept.positions), limit, used=True)

    def heads(self, user: str) -> dict[Scope, Head]:
        """What somebody may read now."""
        found = {Scope("user", UUID(user)): "owner"}
        for workspace_id in sorted(workspace for workspace, one in self.documents.members if one == user):
            if role := self.documents.role(user, workspace_id):
                found[Scope("root", UUID(workspace_id))] = role
        for document_id in self.documents.grants:
            if self.documents.may_read(user, self.documents.documents[document_id]):
                found[Scope("root", UUID(document_id))] = "editor"
        heads = {}
        for scope, role in found.items():
            seq, low, tally = self.scopes.get(scope, (0, 0, Tally()))
            heads[scope] = Head(role, seq, low, tally)
        return heads

    def _tell(self, user: str, cursor: Cursor, before: Mapping[Scope, Position], limit: int, *, used: bool) -> Json:
        heads = self.heads(user)
        try:
            plan = domain.plan(before, heads)
        except ResyncRequiredError as error:
            raise RefusedError("resync_required", **error.extra) from None
        rows, after, complete = self._page(plan, heads, limit)
        sums: dict[Scope, Tally] = {}
        if complete:
            sums, after = domain.at_rest(after, heads)
        token = self._keep(cursor, before, after, used=used)
        return {
            "changes": [self._change(row) for row in domain.in_order(rows)],
            "cursor": token,
            "has_more": not complete,
            "scopes_added": [_name(scope) for scope in plan.added],
            "scopes_removed": [_name(scope) for scope in plan.removed],
            "roles": {_name(scope): role for scope, role in plan.roles.items()},
            "checksums": {
                _name(scope): {"count": tally.held, "sum": domain.hexadecimal(tally.sum)}
                for scope, tally in sums.items()
            },
        }

    def _page(
        self, plan: domain.Plan, heads: Mapping[Scope, Head], limit: int
    ) -> tuple[list[Json], dict[Scope, Position], bool]:
        told: list[Json] = []
        positions, behind = plan.positions, list(plan.behind)
        while behind:
            some, behind = behind[:SCOPES_AT_ONCE], behind[SCOPES_AT_ONCE:]
            room = limit - len(told)
            if not room:
                return self._with_moved(told, heads), positions, False
            found = [row for scope in some for row in self._after(scope, positions[scope].seq)][: room + 1]
            read = {scope: heads[scope] for scope in some}
            page = domain.turn(
                positions, read, found, limit=room, max_bytes=1 << 20, placements=self.documents.placements
            )
            told += page.rows
            positions = page.positions
            behind = [*page.left, *behind]
            if page.full:
                return self._with_moved(told, heads), positions, False
        return self._with_moved(told, heads), positions, True

    def _after(self, scope: Scope, seq: int) -> list[Json]:
        found = [row for key, row in self.items.items() if key.scope == scope and row["seq"] > seq]
        return sorted(found, key=lambda row: row["seq"])

    def _with_moved(self, rows: list[Json], heads: Mapping[Scope, Head]) -> list[Json]:
        moved = {row["id"] for row in rows if row["gone"] and row["reason"] == "moved"}
        new = [
            row
            for key, row in self.items.items()
            if key.id in moved
            and key.scope in heads
            and not row["gone"]
            and row not in rows
            and domain.is_placed(row, self.documents.placements)
        ]
        return [*rows, *new]

    def _change(self, row: Mapping[str, Any]) -> Json:
        scope = Scope(row["scope_kind"], row["scope_id"])
        change = {
            "scope": _name(scope), "seq": row["seq"], "kind": "remove" if row["gone"] else "upsert",
            "entity": row["entity"], "id": str(row["id"]), "version": row["version"],
        }  # fmt: skip
        if row["gone"]:
            return change
        parent = row["parent_id"]
        change |= {
            "content_hash": row["content_hash"], "title": row["title"], "parent_id": str(parent) if parent else None,
            "data": row["data"], "content": None,
        }  # fmt: skip
        if row["entity"] == "document":
            versions = self.documents.documents[change["id"]].versions
            change["content"] = next((t.decode() for n, t in versions if n == row["data"]["content_version"]), None)
        return change

    def _keep(
        self, cursor: Cursor, before: Mapping[Scope, Position], after: Mapping[Scope, Position], *, used: bool
    ) -> str:
        if used and before == after:
            return cursor.token(KEYS[0])
        new = cursor._replace(nonce=self.new_id(), generation=cursor.generation + used)
        kept = self.cursors.setdefault(str(new.device_id), {})
        for nonce in [nonce for nonce, one in kept.items() if one.generation < new.generation - 1]:
            del kept[nonce]
        kept[new.nonce] = Kept(new.generation, domain.pack(after))
        return new.token(KEYS[0])


def _name(scope: Scope) -> str:
    return f"{scope.kind[0]}:{scope.id}"
