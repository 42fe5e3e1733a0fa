"""Pure decisions of the log: which events are next, where they belong, how entries are chained."""

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from common.contracts.documents import RootChanged
from common.messaging import Envelope, UnreadableEventError

GENESIS: Final = bytes(32)
"""Hash before a scope's first entry."""
ROOT_CHANGED: Final = RootChanged.type


class Scope(NamedTuple):
    """An access root (`root`) or what concerns one user alone (`user`)."""

    kind: str
    id: UUID


class Admission(NamedTuple):
    """What becomes of an aggregate's events: to apply in order, to park until earlier ones come, known already."""

    apply: list[Envelope]
    park: list[Envelope]
    known: list[Envelope]


def admit(last: int, events: Iterable[Envelope]) -> Admission:
    """Sort an aggregate's events by whether they follow version `last` without a gap."""
    admission = Admission([], [], [])
    for event in sorted(events, key=lambda item: item.version):
        if event.version <= last:
            admission.known.append(event)
        elif event.version == last + 1:
            admission.apply.append(event)
            last = event.version
        elif admission.park and admission.park[-1].version == event.version:
            admission.known.append(event)
        else:
            admission.park.append(event)
    return admission


def in_order_of_arrival(admitted: Mapping[UUID, Sequence[Envelope]], arrived: Iterable[Envelope]) -> list[Envelope]:
    """All admitted events, each aggregate's in its order, else as they arrived; those that had waited come last."""
    left = {aggregate: deque(events) for aggregate, events in admitted.items()}
    order = []
    for event in arrived:
        queue = left[event.aggregate_id]
        while queue and queue[0].version <= event.version:
            order.append(queue.popleft())
    return [*order, *(event for queue in left.values() for event in queue)]


def scopes_of(event: Envelope) -> list[Scope]:
    """Where an event is logged: its access root (a workspace is one), the one before, the user it is about.

    At least one; the first is where the entity is now. Rules of a root are also its workspace's business. Raises
    `UnreadableEventError` for an event that belongs nowhere.
    """
    data = event.data
    root, user = data.get("access_root_id") or data.get("workspace_id"), data.get("user_id")
    try:
        left = left_by(event)
        found = [Scope("root", UUID(root))] if root else []
        if event.type == ROOT_CHANGED:
            found.insert(0, Scope("root", UUID(data["root_id"])))
        found += [left] if left else []
        found += [Scope("user", UUID(user))] if user else []
    except (ValueError, TypeError, AttributeError, KeyError):
        found = []
    if not found:
        raise UnreadableEventError(f"{event.type} names neither a root nor a user")
    return list(dict.fromkeys(found))


def left_by(event: Envelope) -> Scope | None:
    """The access root something went away from by this event."""
    left = event.data.get("previous_root_id")
    return Scope("root", UUID(left)) if left and left != event.data.get("access_root_id") else None


class Logged(NamedTuple):
    """An event in one of its scopes; `left`: what it is about lay there, and lies there no longer."""

    scope: Scope
    event: Envelope
    left: bool


class Entry(NamedTuple):
    """One line of a scope's log. `personal` is what may be erased later."""

    scope: Scope
    seq: int
    recorded_at: datetime
    event_id: UUID
    type: str
    aggregate_id: UUID
    aggregate_version: int
    occurred_at: datetime
    commitment: bytes
    hash: bytes


def personal(logged: Logged) -> dict[str, Any]:
    """Who, from where, how signed in, and what the event says.

    In a user's own log somebody else's address and session are nobody's business; where something went away from, only
    that it went is said.
    """
    scope, event, left = logged
    actor = event.extensions.get("actor")
    hidden = scope.kind == "user" and actor != str(scope.id)
    return {
        "actor": actor,
        "session_id": None if hidden else event.extensions.get("sessionid"),
        "client_ip": None if hidden else event.extensions.get("clientip"),
        "auth_method": None if hidden else event.extensions.get("authmethod"),
        "data": {name: value for name, value in event.data.items() if not left or name in _SAID_WHERE_IT_LEFT},
    }


_SAID_WHERE_IT_LEFT: Final = frozenset(("document_id", "version", "origin", "previous_root_id"))


def commitment(salt: bytes, details: Mapping[str, Any]) -> bytes:
    """SHA-256 commitment to personal fields; without the salt nobody can guess an erased address by trying."""
    return hashlib.sha256(salt + orjson.dumps(details, option=orjson.OPT_SORT_KEYS)).digest()


def chain(previous: bytes, entry: Sequence[Any]) -> bytes:
    """Hash of an entry: SHA-256 over the entry before it and its own fields, without `hash`."""
    return hashlib.sha256(previous + orjson.dumps(entry)).digest()


def append(scope: Scope, seq: int, previous: bytes, event: Envelope, recorded_at: datetime, committed: bytes) -> Entry:
    """The entry for `event` that follows number `seq`, whose hash was `previous`."""
    fields = (
        scope,
        seq + 1,
        recorded_at,
        event.id,
        event.type,
        event.aggregate_id,
        event.version,
        event.time,
        committed,
    )
    return Entry(*fields, hash=chain(previous, _hashed(fields)))


def _hashed(fields: Sequence[Any]) -> list[Any]:
    """Fields in the fixed form they are hashed in: times in UTC, the commitment in hex."""
    scope, seq, recorded_at, event_id, type_, aggregate_id, version, occurred_at, committed = fields
    return [
        scope.kind, str(scope.id), seq, recorded_at.timestamp(), str(event_id), type_, str(aggregate_id), version,
        occurred_at.timestamp(), committed.hex(),
    ]  # fmt: skip


class Checked(NamedTuple):
    """How far a chain holds."""

    seq: int
    hash: bytes
    erased: int
    broken_at: int | None


def check(scope: Scope, start: Checked, rows: Iterable[Mapping[str, Any]]) -> Checked:
    """Recompute hashes and commitments of consecutive rows after `start`; ends at the first that does not hold."""
    seq, previous, erased, _ = start
    for row in rows:
        fields = (
            scope, seq + 1, row["recorded_at"], row["event_id"], row["type"], row["aggregate_id"],
            row["aggregate_version"], row["occurred_at"], row["commitment"],
        )  # fmt: skip
        intact = row["seq"] == seq + 1 and chain(previous, _hashed(fields)) == row["hash"]
        if row["salt"] is None:
            erased += 1
        else:
            intact = intact and commitment(row["salt"], row["personal"]) == row["commitment"]
        if not intact:
            return Checked(seq, previous, erased, seq + 1)
        seq, previous = seq + 1, row["hash"]
    return Checked(seq, previous, erased, None)


NAMES: Final = ("title", "name")


def named(type_: str) -> bool:
    """Whether events of a type say what a document or folder is called."""
    return type_.startswith(("documents.document.", "documents.folder."))


def nameless(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the log without the name in its data."""
    details = row["personal"]
    data = details and details.get("data")
    if not data:
        return dict(row)
    return {**row, "personal": {**details, "data": {key: value for key, value in data.items() if key not in NAMES}}}
