"""Which changes of two sides meet: the diff3 step, over items of any kind.

A change that fits several places is moved out of the other side's way if only blank items lie between them; if items
with text do, which of them was meant is unknown, and all of them count as changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from .matching import Change, common_prefix, common_suffix

_MAX_SLACK = 10_000
_MAX_SHIFT = 8

Pair = tuple[list[str], list[str]]
"""Our items and their items."""


class Region(NamedTuple):
    """A stretch of the base and what it is on each side; who changed it, if anyone."""

    places: tuple[slice, slice, slice]
    """Where it is in the base, in ours and in theirs."""
    by_ours: bool
    by_theirs: bool

    @property
    def changed(self) -> bool:
        """Whether a side changed it."""
        return self.by_ours or self.by_theirs


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


def regions(base: list[str], sides: Pair, found: tuple[list[Change], list[Change]], rules: Rules) -> list[Region]:
    """Cut the base into regions, in order; one changed by both sides needs a decision, the others do not.

    Source: Khanna, Kunal, Pierce, "A Formal Investigation of Diff3" (2007); chunks are split finer than there where the
    order of touching changes is certain.
    """
    edits = (_edits(base, sides[0], found[0], rules), _edits(base, sides[1], found[1], rules))
    cover: list[Region] = []
    at = [0, 0, 0]
    for group in _groups(edits, rules):
        together = group[0] + group[1]
        start, stop = min(edit.start for edit in together), max(edit.end for edit in together)
        starts = [start, *(start - at[0] + new for new in at[1:])]
        cover += _unchanged(at, starts)
        at = [stop, *(_follow(own, start, new, stop) for own, new in zip(group, starts[1:], strict=True))]
        cover.append(Region(_places(starts, at), bool(group[0]), bool(group[1])))
    cover += _unchanged(at, [len(base), len(sides[0]), len(sides[1])])
    return cover


def _unchanged(starts: list[int], stops: list[int]) -> list[Region]:
    return [Region(_places(starts, stops), by_ours=False, by_theirs=False)] if starts[0] < stops[0] else []


def _places(starts: list[int], stops: list[int]) -> tuple[slice, slice, slice]:
    base, ours, theirs = map(slice, starts, stops)
    return base, ours, theirs


def _follow(edits: list["_Edit"], start: int, new_start: int, stop: int) -> int:
    """Return where on a side a region ends that starts at `new_start` there and holds these edits of it."""
    return edits[-1].new_end + stop - edits[-1].end if edits else new_start + stop - start


def _edits(base: list[str], new: list[str], found: list[Change], rules: Rules) -> list[_Edit]:
    """Turn changes into edits that know how far they may move, or that cover all the places they may mean."""
    if not rules.slide:
        return [_Edit(*change) for change in found]
    certain: list[Change] = []
    for change in found:
        if certain and _is_one(base, new, certain[-1], change, rules):
            certain[-1] = certain[-1]._replace(old_end=change.old_end, new_end=change.new_end)
        else:
            certain.append(change)
    edits: list[_Edit] = []
    for at, change in enumerate(certain):
        floor = edits[-1].end + 1 if edits else 0
        ceiling = certain[at + 1].old_start - 1 if at + 1 < len(certain) else len(base)
        edits.append(_edit(base, new, change, floor, ceiling, rules))
    return edits


def _is_one(base: list[str], new: list[str], first: Change, second: Change, rules: Rules) -> bool:
    """Tell whether two changes of one side count as one.

    They do if nothing keeps them apart, or if what is between them matches as well when shifted: then they may mean
    other items than those.
    """
    size = second.old_start - first.old_end
    if not rules.apart(first.old_end, second.old_start):
        return True
    if all(map(rules.blank, base[first.old_end : second.old_start])):
        return False
    return any(
        common_prefix(items, items, start, start + by, size) == size
        for items, start, above, below in (
            (base, first.old_end, first.old_end - first.old_start, second.old_end - second.old_start),
            (new, first.new_end, first.new_end - first.new_start, second.new_end - second.new_start),
        )
        for by in range(-min(above, _MAX_SHIFT), min(below, _MAX_SHIFT) + 1)
        if by
    )


def _edit(base: list[str], new: list[str], change: Change, floor: int, ceiling: int, rules: Rules) -> _Edit:
    """Find how far a change may move within `[floor, ceiling)`, or widen it over what it may mean as well.

    Added items may have been put elsewhere if they end as what follows them does, or begin as what precedes them;
    likewise removed ones. Past blank items that makes no difference, past others it would be a guess.
    """
    start, end, new_start, new_end = change
    more = (new_end - new_start) - (end - start)
    if start < end and new_start < new_end and all(map(rules.blank, [*base[start:end], *new[new_start:new_end]])):
        return _Edit(*change, blank=True)
    if not more:
        return _Edit(*change)
    items, low, high = (new, new_start, new_end) if more > 0 else (base, start, end)
    sizes = {abs(more), *range(1, min(high - low, _MAX_SHIFT))}
    ups = [common_suffix(items, items, low, low + size, min(start - floor, _MAX_SLACK)) for size in sizes]
    downs = [common_prefix(items, items, high - size, high, min(ceiling - end, _MAX_SLACK)) for size in sizes]
    up = max((by for by in ups if not all(map(rules.blank, base[start - by : start]))), default=0)
    down = max((by for by in downs if not all(map(rules.blank, base[end : end + by]))), default=0)
    if up or down or low + abs(more) < high:
        return _Edit(start - up, end + down, new_start - up, new_end + down)
    return _Edit(*change, slack=common_suffix(items, items, low, high, min(start - floor, _MAX_SLACK)))


def _groups(edits: _Group, rules: Rules) -> list[_Group]:
    """Gather the edits of both sides that meet, directly or through others."""
    ordered = sorted(
        ((side, edit) for side in (0, 1) for edit in edits[side]),
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
            if not rules.apart(first.end, second.start - second.slack):
                second.slack = 0
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
