"""What a scope holds: the head of every entity in it, numbered by its last change there, and checksums over them."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from common.contracts.documents import DocumentPurged, FolderPurged
from common.messaging import Envelope

from .log import ROOT_CHANGED, Logged, Scope, left_by, scopes_of

SUM_MODULUS: Final = 2**64
_SIGNED: Final = 2**63

ENTITIES: Final = {
    "documents.document": "document",
    "documents.folder": "folder",
    "documents.root": "grant",
    "auth-gateway.membership": "member",
    "auth-gateway.workspace": "workspace",
}

PURGED: Final = (DocumentPurged.type, FolderPurged.type)


class Key(NamedTuple):
    """An entity in a scope."""

    scope: Scope
    entity: str
    id: UUID


class Tally(NamedTuple):
    """How many entities a scope holds, and the sum of their checksums modulo 2⁶⁴."""

    held: int = 0
    sum: int = 0


def entity_of(event: Envelope) -> tuple[str, UUID] | None:
    """Kind and id of what an event is about; None if devices keep nothing of the kind."""
    entity = ENTITIES.get(".".join(event.type.split(".")[:2]))
    if entity is None:
        return None
    return entity, UUID(event.data["root_id"]) if event.type == ROOT_CHANGED else event.aggregate_id


def placed(events: Sequence[Envelope], held: Mapping[Key, Mapping[str, Any]]) -> list[Logged]:
    """Events in all their scopes: also in those where we still hold what they are about, though it lies elsewhere now.

    An event that said where it went away from may have been missing for ever.
    """
    places: dict[UUID, set[Scope]] = defaultdict(set)
    for key, row in held.items():
        if key.entity in ("document", "folder") and not row["gone"]:
            places[key.id].add(key.scope)
    found = []
    for event in events:
        scopes, left = scopes_of(event), left_by(event)
        found += [Logged(scope, event, scope == left) for scope in scopes]
        stale = places.pop(event.aggregate_id, set()).difference(scopes)
        found += [Logged(scope, event, left=True) for scope in sorted(stale)]
    return found


def checksum(entity: str, id_: UUID, version: int, content_hash: str | None) -> int:
    """First 8 bytes, big-endian, of SHA-256 over `entity:id:version:hash`."""
    text = f"{entity}:{id_}:{version}:{content_hash or ''}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def heads(entries: Iterable[tuple[Logged, int]]) -> dict[Key, dict[str, Any]]:
    """What these log entries, each with its number, leave behind in their scopes; in order, the last one counts."""
    found: dict[Key, dict[str, Any]] = {}
    for logged, seq in entries:
        about = entity_of(logged.event)
        if about and not _elsewhere(logged):
            key = Key(logged.scope, *about)
            found[key] = _head(key, logged, seq)
    return found


def _elsewhere(logged: Logged) -> bool:
    """A root's rules are also logged in its workspace, but held only where they count."""
    return logged.event.type == ROOT_CHANGED and str(logged.scope.id) != logged.event.data["root_id"]


def _head(key: Key, logged: Logged, seq: int) -> dict[str, Any]:
    event, data = logged.event, logged.event.data
    # What lies in the trash is renamed and moved by events of other kinds; earlier releases did not say so.
    trashed = data.get("trashed", event.type.split(".")[2] == "trashed")
    purged = event.type in PURGED
    reason = "moved" if logged.left else "purged" if purged else "trashed" if trashed else None
    gone = reason is not None or bool(data.get("removed")) or event.type.endswith(".deleted.v1")
    row = {
        "scope_kind": key.scope.kind,
        "scope_id": key.scope.id,
        "entity": key.entity,
        "id": key.id,
        "seq": seq,
        "version": event.version,
        "gone": gone,
        "changed_at": event.time,
        "actor": event.extensions.get("actor"),
        "device_id": event.extensions.get("deviceid"),
        "op_id": event.extensions.get("opid"),
        "reason": reason or ("removed" if gone else None),
    }
    if logged.left or purged:  # whoever may read there may not know more than that it went
        return {**row, "checksum": 0, "content_hash": None, "size": None, "parent_id": None, "title": None, "data": {}}
    content_hash = data.get("content_hash")
    return {
        **row,
        "checksum": signed(checksum(key.entity, key.id, event.version, content_hash)),
        "content_hash": content_hash,
        "size": data.get("size"),
        "parent_id": data.get("folder_id") if key.entity == "document" else data.get("parent_id"),
        "title": data.get("title") or data.get("name"),
        "data": dict(data),
    }


def recount(tally: Tally, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Tally:
    """A scope's tally once an entity's head there was `before` and is `after`."""
    count, total = tally
    if before and not before["gone"]:
        count, total = count - 1, total - before["checksum"]
    if not after["gone"]:
        count, total = count + 1, total + after["checksum"]
    return Tally(count, total % SUM_MODULUS)


def signed(value: int) -> int:
    """An unsigned 64-bit number as PostgreSQL's bigint holds it."""
    return value - SUM_MODULUS if value >= _SIGNED else value


def hexadecimal(value: int) -> str:
    """A sum as clients see it: JSON numbers hold 53 bits."""
    return f"{value % SUM_MODULUS:016x}"
