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
_MAX_SHIFT = 8


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
    slack: int = 0  # how far up it may move
    blank: bool = False  # it replaces blank items by blank ones

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
    """Turn changes into edits that know how far they may move, or that cover all the places they may mean."""
    if not rules.slide:
        return [_Edit(*change) for change in found]
    certain: list[Change] = []
    for change in found:
        if certain and _shifts(base, new, certain[-1], change, rules):
            last = certain.pop()
            certain.append(Change(last.old_start, change.old_end, last.new_start, change.new_end))
        else:
            certain.append(change)
    edits: list[_Edit] = []
    for at, change in enumerate(certain):
        floor = edits[-1].end + 1 if edits else 0
        ceiling = certain[at + 1].old_start - 1 if at + 1 < len(certain) else len(base)
        edits.append(_edit(base, new, change, floor, ceiling, rules))
    return edits


def _shifts(base: Sequence[str], new: Sequence[str], first: Change, second: Change, rules: Rules) -> bool:
    """Tell whether what is between two changes matches as well if shifted, so that they may mean other items.

    If it is blank: whether the changes only move something past it, so that it may be the one that moved.
    """
    size = second.old_start - first.old_end
    if all(map(rules.blank, base[first.old_end : second.old_start])):
        gone = base[first.old_start : first.old_end], base[second.old_start : second.old_end]
        came = new[first.new_start : first.new_end], new[second.new_start : second.new_end]
        return gone == came[::-1]
    return any(
        common_prefix(items, items, start, start + by, size) == size
        for items, start, above, below in (
            (base, first.old_end, first.old_end - first.old_start, second.old_end - second.old_start),
            (new, first.new_end, first.new_end - first.new_start, second.new_end - second.new_start),
        )
        for by in range(-min(above, _MAX_SHIFT), min(below, _MAX_SHIFT) + 1)
        if by
    )


def _edit(base: Sequence[str], new: Sequence[str], change: Change, floor: int, ceiling: int, rules: Rules) -> _Edit:
    """Find how far what a change adds or removes may move within `[floor, ceiling)`; widen it over items with text."""
    start, end, new_start, new_end = change
    more = (new_end - new_start) - (end - start)
    if start < end and new_start < new_end and all(map(rules.blank, [*base[start:end], *new[new_start:new_end]])):
        return _Edit(*change, blank=True)
    if not more:
        return _Edit(*change)
    items, low, high = (new, new_start, new_end) if more > 0 else (base, start, end)
    up = common_suffix(items, items, low, low + abs(more), min(start - floor, _MAX_SLACK))
    down = common_prefix(items, items, high - abs(more), high, min(ceiling - end, _MAX_SLACK))
    if all(map(rules.blank, base[start - up : start])) and all(map(rules.blank, base[end : end + down])):
        return _Edit(*change, slack=up if start == end or new_start == new_end else 0)
    return _Edit(start - up, end + down, new_start - up, new_end + down)


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
    return not _may_touch(first, second, rules)


def _may_touch(first: _Edit, second: _Edit, rules: Rules) -> bool:
    """Allow touching edits if at most one adds items where they touch, so that their order is certain.

    Where nothing else may touch, new spaces or line breaks and a changed word beside them still may.
    """
    if first.end != second.start or first.slack or second.slack or second.end == first.start:
        return False
    inserts = first.start == first.end or second.start == second.end
    allowed = rules.touch or ((first.blank or second.blank) and not inserts)
    return allowed and not (first.grows and second.grows)
