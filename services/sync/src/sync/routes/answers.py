"""What was told, as clients see it."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from common.access import Action, allows
from common.database import Row

from .. import domain
from ..domain import Scope, Tally
from ..errors import CursorInvalidError
from ..schemas import MAX_OPERATIONS, Checksum
from ..service import Compared, Told


def name_of(scope: Scope) -> str:
    """A scope as clients know it."""
    return f"{scope.kind[0]}:{scope.id}"


def scope_of(name: str) -> Scope:
    """The scope of a name."""
    return Scope("root" if name[0] == "r" else "user", UUID(name[2:]))


def tallies(buckets: Sequence[Checksum]) -> list[Tally]:
    """A client's tallies."""
    return [Tally(bucket.count, int(bucket.sum, 16)) for bucket in buckets]


def _checksum(tally: Tally) -> dict[str, Any]:
    return {"count": tally.held, "sum": domain.hexadecimal(tally.sum)}


def after_write(results: Sequence[Mapping[str, Any]]) -> str:
    """Names the versions some results made; no secret, and nothing that rights are taken from."""
    made = {result["id"]: result["version"] for result in results if result.get("version")}
    made |= {result["conflict_document_id"]: 1 for result in results if result.get("conflict_document_id")}
    return urlsafe_b64encode(orjson.dumps(list(made.items()))).rstrip(b"=").decode()


def written(token: str) -> dict[UUID, int]:
    """The versions an `after_write` names. Raises `CursorInvalidError`."""
    try:
        pairs = orjson.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return {UUID(id_): min(int(version), 2**53) for id_, version in pairs[: 2 * MAX_OPERATIONS]}
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise CursorInvalidError("after_write is not what a push answered") from error


_DATA = {
    "document": ("workspace_id", "position", "language", "kind", "content_version"),
    "folder": ("workspace_id", "position"),
    "member": ("workspace_id", "user_id", "role"),
    "workspace": ("workspace_id",),
    "grant": ("workspace_id", "kind", "inherits"),
}


def change(row: Row, told: Told, places: Mapping[UUID, Scope]) -> dict[str, Any]:
    """A row as `Change`, with its text if that came along; of a removal no more than that it went."""
    scope = Scope(row["scope_kind"], row["scope_id"])
    short = {
        "scope": name_of(scope), "seq": row["seq"], "kind": _kind(row),
        "entity": row["entity"], "id": row["id"], "version": row["version"],
    }  # fmt: skip
    if row["gone"]:
        place = places.get(row["id"])
        return {**short, "reason": row["reason"]} | ({"moved_to": name_of(place)} if place else {})
    data = {name: row["data"].get(name) for name in _DATA.get(row["entity"], ())}
    full = {
        **short,
        **{name: row[name] for name in ("content_hash", "size", "parent_id", "title", "actor", "device_id", "op_id")},
        "at": row["changed_at"],
        "data": data,
    }
    if row["entity"] == "grant" or (scope.id == row["id"] and row["parent_id"] not in told.parents):
        full["parent_id"] = None  # a folder that is not theirs to know
    if row["entity"] == "grant":
        data["grants"] = _grants(row, told.roles.get(scope), told.mine)
    if row["entity"] == "document":
        full |= _text(row, told)
    return full


def _kind(row: Row) -> str:
    if not row["gone"]:
        return "upsert"
    return "purge" if row["reason"] == "purged" else "remove"


def _grants(row: Row, role: str | None, mine: frozenset[str]) -> dict[str, str]:
    """All of them to who may edit there; to others what concerns themselves."""
    grants: dict[str, str] = row["data"].get("grants", {})
    if allows(role, Action.EDIT):
        return grants
    return {principal: granted for principal, granted in grants.items() if principal in mine}


def _text(row: Row, told: Told) -> dict[str, Any]:
    n = int(row["data"]["content_version"])
    text = told.texts.get((row["id"], n))
    return {"content": text} if text is not None else {"content_url": f"/v1/documents/{row['id']}/versions/{n}/content"}


def _changes(told: Told) -> list[dict[str, Any]]:
    places = told.places
    return [change(row, told, places) for row in told.rows]


def bootstrap_page(told: Told) -> dict[str, Any]:
    """What was told, as `BootstrapPage`."""
    return {
        "items": _changes(told),
        "page_token": None if told.complete else told.cursor,
        "cursor": told.cursor if told.complete else None,
        "scopes_removed": [name_of(scope) for scope in told.plan.removed],
        "roles": {name_of(scope): role for scope, role in told.plan.roles.items()},
        "checksums": {name_of(scope): _checksum(tally) for scope, tally in told.checksums.items()},
    }


def pull_page(told: Told, *, read_after_write: bool | None) -> dict[str, Any]:
    """What was told, as `PullPage`."""
    return {
        "changes": _changes(told),
        "cursor": told.cursor,
        "has_more": not told.complete,
        "scopes_added": [name_of(scope) for scope in told.plan.added],
        "scopes_removed": [name_of(scope) for scope in told.plan.removed],
        "roles": {name_of(scope): role for scope, role in told.plan.roles.items()},
        "checksums": {name_of(scope): _checksum(tally) for scope, tally in told.checksums.items()},
        "read_after_write": read_after_write,
    }


def verify_answer(scope: str, found: Compared) -> dict[str, Any]:
    """A comparison, as `VerifyAnswer`."""
    held: dict[int, list[dict[str, Any]]] = {bucket: [] for bucket in found.differ}
    for row in found.told.rows:
        held[row["id"].bytes[-1]].append(change(row, found.told, {}))
    return {
        "scope": scope,
        "seq": found.seq,
        "buckets": [_checksum(tally) for tally in found.ours],
        "differs": [
            {"bucket": bucket, **_checksum(found.ours[bucket]), "changes": changes} for bucket, changes in held.items()
        ],
        "more": found.more,
    }
