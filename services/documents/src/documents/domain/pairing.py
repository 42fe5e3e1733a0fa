"""Which changes of two sides meet: the diff3 step, over items of any kind.

A change that fits several places is moved out of the other side's way if only blank items lie between them; if items
with text do, which of them was meant is unknown, and all of them count as changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .matching import Change, common_prefix, common_suffix

OURS, THEIRS = 0, 1
_MAX_SLACK = 10_000


class Region(NamedTuple):
    """A stretch of the base and what it is on each side; unchanged ones have neither flag."""

    base: slice
    ours: slice
    theirs: slice
    by_ours: bool
    by_theirs: bool


class Rules(NamedTuple):
    """What differs between pairing lines and pairing words."""

    blank: Callable[[str], bool]
    """Whether it is of no consequence which of several equal neighbours an item is."""
    apart: Callable[[int, int], bool]
    """Whether base items `[start, end)`, unchanged, keep two changes apart."""
    touch: bool
    """Whether changes with nothing between them may both apply if their order is certain."""
    slide: bool = True
    """Whether a change that fits several places may stand at any of them."""


@dataclass(slots=True)
class _Edit:
    start: int
    end: int
    new_start: int
    new_end: int
    slack: int  # how far up it may move

    @property
    def grows(self) -> bool:
        return self.new_end - self.new_start > self.end - self.start

    def move_up(self, by: int) -> None:
        self.start -= by
        self.end -= by
        self.new_start -= by
        self.new_end -= by
        self.slack -= by


_Group = tuple[list[_Edit], list[_Edit]]


def regions(
    base: Sequence[str],
    ours: Sequence[str],
    theirs: Sequence[str],
    ours_changes: list[Change],
    theirs_changes: list[Change],
    rules: Rules,
) -> list[Region]:
    """Cut the base into regions, in order; one changed by both sides needs a decision, the others do not.

    Source: Khanna, Kunal, Pierce, "A Formal Investigation of Diff3" (2007); chunks are split finer than there where the
    order of touching changes is certain.
    """
    sides = (_edits(base, ours, ours_changes, rules), _edits(base, theirs, theirs_changes, rules))
    changed = []
    shifts = [0, 0]
    for group in _groups(sides, rules):
        edits = group[OURS] + group[THEIRS]
        span = slice(min(edit.start for edit in edits), max(edit.end for edit in edits))
        spans = []
        for side in (OURS, THEIRS):
            start = span.start + shifts[side]
            if group[side]:
                shifts[side] = group[side][-1].new_end - group[side][-1].end
            spans.append(slice(start, span.stop + shifts[side]))
        changed.append(Region(span, *spans, bool(group[OURS]), bool(group[THEIRS])))
    return covered(changed, len(base), len(ours), len(theirs))


def covered(changed: list[Region], base: int, ours: int, theirs: int) -> list[Region]:
    """Add the unchanged regions between and around the changed ones."""
    cover = []
    at = (0, 0, 0)
    end = Region(slice(base, base), slice(ours, ours), slice(theirs, theirs), by_ours=False, by_theirs=False)
    for region in [*changed, end]:
        if region.base.start > at[0]:
            before = (slice(start, span.start) for start, span in zip(at, region[:3], strict=True))
            cover.append(Region(*before, by_ours=False, by_theirs=False))
        cover.append(region)
        at = (region.base.stop, region.ours.stop, region.theirs.stop)
    return cover[:-1]


def _edits(base: Sequence[str], new: Sequence[str], found: list[Change], rules: Rules) -> list[_Edit]:
    edits = []
    floor = 0
    for at, change in enumerate(found):
        ceiling = found[at + 1].old_start - 1 if at + 1 < len(found) else len(base)
        edits.append(_edit(base, new, change, floor, ceiling, rules))
        floor = edits[-1].end + 1
    return edits


def _edit(base: Sequence[str], new: Sequence[str], change: Change, floor: int, ceiling: int, rules: Rules) -> _Edit:
    """Find how far a change may move within `[floor, ceiling)`; if past items with text, widen it over all of them."""
    start, end, new_start, new_end = change
    items, low, high = (new, new_start, new_end) if start == end else (base, start, end)
    if not rules.slide or (start != end and new_start != new_end):
        return _Edit(start, end, new_start, new_end, 0)
    up = common_suffix(items, items, low, high, min(start - floor, _MAX_SLACK))
    down = common_prefix(items, items, low, high, min(ceiling - end, _MAX_SLACK))
    if not down and all(map(rules.blank, base[start - up : start])):
        return _Edit(start, end, new_start, new_end, up)
    return _Edit(start - up, end + down, new_start - up, new_end + down, 0)


def _groups(sides: tuple[list[_Edit], list[_Edit]], rules: Rules) -> list[_Group]:
    """Gather the edits that meet, directly or through others."""
    ordered = sorted(
        ((side, edit) for side in (OURS, THEIRS) for edit in sides[side]),
        key=lambda entry: (entry[1].start, entry[1].end, -entry[1].slack),
    )
    groups: list[_Group] = []
    latest: list[_Edit | None] = [None, None]
    for side, edit in ordered:
        other = latest[1 - side]
        alone = bool(groups) and groups[-1][1 - side] == [other] and not groups[-1][side]
        if other is None or not _meet(other, edit, rules, movable=alone):
            groups.append(([], []))
        groups[-1][side].append(edit)
        latest[side] = edit
    return groups


def _meet(first: _Edit, second: _Edit, rules: Rules, *, movable: bool) -> bool:
    """Tell whether two edits, in base order, meet: no certain order keeps both; move the first away if that helps."""
    if second.end - second.slack < first.start:
        return True
    for by in range(first.slack + 1 if movable else 1):
        gap = second.start - first.end + by
        if gap > 0 and rules.apart(first.end - by, second.start):
            first.move_up(by)
            second.slack = min(second.slack, gap - 1)
            while second.slack and not rules.apart(first.end, second.start - second.slack):
                second.slack -= 1
            return False
    return not (rules.touch and _may_touch(first, second))


def _may_touch(first: _Edit, second: _Edit) -> bool:
    """Allow touching edits whose order is certain: at most one of them adds lines where they touch."""
    if first.end != second.start or first.slack or second.slack or second.end == first.start:
        return False
    return not (
        (first.grows and second.grows)
        or (first.start == first.end and second.grows)
        or (second.start == second.end and first.grows)
    )
