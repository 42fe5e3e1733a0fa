"""What a device is told next: from where it is, what its user may read now, and where each scope has got to.

A bootstrap is the same from nowhere. An entity has one row in a scope, numbered by its last change there, so what was
superseded is never told, what is read while it changes comes again further on, and a title from before a restriction
is not there to be told.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final, NamedTuple
from uuid import UUID

from ..errors import ResyncRequiredError
from .cursor import Position, Positions
from .items import Tally
from .log import Scope

Row = dict[str, Any]

INLINE_BYTES: Final = 64 * 1024
"""Texts up to this size come with the change."""
_RANK: Final = {"workspace": 0, "member": 1, "grant": 2, "folder": 3, "document": 4}


class Head(NamedTuple):
    """A scope as it is: the caller's role, its last number, the last number of a forgotten removal, its tally."""

    role: str
    seq: int = 0
    low_seq: int = 0
    tally: Tally = Tally()


class Plan(NamedTuple):
    """What is to be told."""

    positions: dict[Scope, Position]
    """Where the device is, of what it may still read; new scopes at their beginning."""
    added: list[Scope]
    removed: list[Scope]
    roles: dict[Scope, str]
    """Those that are new to the device."""
    behind: list[Scope]
    """Where there is more to tell."""


class Page(NamedTuple):
    """A part of an answer."""

    rows: list[Row]
    positions: dict[Scope, Position]
    full: bool
    """Whether no more fits."""
    left: list[Scope]
    """Scopes to read on in."""


def plan(positions: Positions, heads: Mapping[Scope, Head]) -> Plan:
    """Compare where a device is with what its user may read now.

    Raises `ResyncRequiredError`: it is ahead of the server, or removals it has not heard of are forgotten.
    """
    for scope, at in positions.items():
        head = heads.get(scope)
        if head and at.seq > head.seq:
            raise ResyncRequiredError(reason="ahead", mode="upload_differences")
        if head and max(at.seq, at.entered_at) < head.low_seq:
            raise ResyncRequiredError(reason="expired", mode="apply_differences")
    added = [scope for scope in heads if scope not in positions]
    known = {scope: positions.get(scope) or Position(0, head.seq, due=True) for scope, head in heads.items()}
    return Plan(
        positions={scope: at._replace(role=heads[scope].role) for scope, at in known.items()},
        added=added,
        removed=[scope for scope in positions if scope not in heads],
        roles={
            scope: head.role
            for scope, head in heads.items()
            if scope not in positions or positions[scope].role != head.role
        },
        behind=[scope for scope, head in heads.items() if head.seq > known[scope].seq],
    )


def turn(
    positions: dict[Scope, Position],
    read: Mapping[Scope, Head],
    rows: Sequence[Row],
    *,
    limit: int,
    max_bytes: int,
    placements: Mapping[UUID, int],
) -> Page:
    """A page of the rows found in the scopes `read`, in their order, each by number; `limit` + 1 of them at most.

    At least one row gets through. Inline texts count towards `max_bytes`. A scope waits before a document or folder
    that was put elsewhere a moment ago (`placements`), until it is known where.
    """
    told: list[Row] = []
    waiting: dict[Scope, int] = {}
    passed: list[Row] = []
    used = 0
    for row in rows:
        scope, cost = _scope(row), inline_bytes(row)
        if scope in waiting or not is_placed(row, placements):
            waiting.setdefault(scope, row["seq"] - 1)
            continue
        if len(told) == limit or (told and used + cost > max_bytes):
            return Page(told, _advanced(positions, read, passed, _before(read, row, waiting)), full=True, left=[])
        used += cost
        passed.append(row)
        if not row["gone"] or row["seq"] > positions[scope].entered_at:
            told.append(row)
    if len(rows) <= limit:
        done = [scope for scope in read if scope not in waiting]
        return Page(told, _advanced(positions, read, passed, done), full=False, left=[])
    after = _advanced(positions, read, passed, _before(read, rows[-1], waiting))
    left = [scope for scope in read if scope not in waiting and after[scope].seq < read[scope].seq]
    return Page(told, after, full=False, left=left)


def is_placed(row: Row, placements: Mapping[UUID, int]) -> bool:
    """Whether it lies there still, as far as was announced: else an event is on its way that tells where it went."""
    return row["entity"] not in ("document", "folder") or row["version"] >= placements.get(row["id"], 0)


def inline_bytes(row: Row) -> int:
    """Bytes of text a change brings along."""
    size = row["size"] or 0
    return 0 if row["gone"] or row["entity"] != "document" or size > INLINE_BYTES else size


def in_order(rows: Iterable[Row]) -> list[Row]:
    """The order to apply a page in: what contains others first, removals last and the other way round."""
    living: list[Row] = []
    gone: list[Row] = []
    for row in rows:
        (gone if row["gone"] else living).append(row)
    depths = _depths(living)
    living.sort(key=lambda row: (_RANK.get(row["entity"], 9), depths.get(row["id"], 0)))
    gone.sort(key=lambda row: -_RANK.get(row["entity"], 9))
    return [*living, *gone]


def at_rest(positions: Positions, heads: Mapping[Scope, Head]) -> tuple[dict[Scope, Tally], dict[Scope, Position]]:
    """Checksums that are due and hold for where the device is, and the positions once they are told."""
    sums = {scope: heads[scope].tally for scope, at in positions.items() if at.due and _is_at(at, heads.get(scope))}
    return sums, {scope: at._replace(due=False) if scope in sums else at for scope, at in positions.items()}


def _is_at(at: Position, head: Head | None) -> bool:
    return head is not None and head.seq == at.seq


def _scope(row: Row) -> Scope:
    return Scope(row["scope_kind"], row["scope_id"])


def _before(read: Iterable[Scope], row: Row, waiting: Mapping[Scope, int]) -> list[Scope]:
    """Scopes read before the one of a row: all of theirs is told, unless they wait."""
    return [scope for scope in takewhile(lambda scope: scope != _scope(row), read) if scope not in waiting]


def _advanced(
    positions: dict[Scope, Position], read: Mapping[Scope, Head], rows: Sequence[Row], done: Iterable[Scope]
) -> dict[Scope, Position]:
    """Positions behind `rows`; scopes that are `done` are at their head, or past it if they moved on meanwhile."""
    last = {_scope(row): row["seq"] for row in rows}
    for scope in done:
        last[scope] = max(last.get(scope, 0), read[scope].seq)
    return positions | {scope: positions[scope]._replace(seq=seq, due=True) for scope, seq in last.items()}


def _depths(rows: Sequence[Row]) -> dict[UUID, int]:
    """How deep each folder lies among those of the page."""
    parents = {row["id"]: row["parent_id"] for row in rows if row["entity"] == "folder"}
    depths: dict[UUID, int] = {}
    for folder in parents:
        line: list[UUID] = []
        at: UUID | None = folder
        while at and at in parents and at not in depths and at not in line:
            line.append(at)
            at = parents[at]
        depth = depths.get(at, -1) if at else -1
        for one in reversed(line):
            depth += 1
            depths[one] = depth
    return depths
