"""Which items of two sequences correspond: the alignment under merge and diff.

Trims what is equal at both ends, anchors on items unique to both sides (patience), fills the gaps with Myers' greedy
search. Work is bounded: what the budget does not reach counts as unmatched, so a caller sees a larger change, never a
wrong one.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from operator import eq
from typing import NamedTuple

STEPS = 300_000
"""Steps a budget starts with: less than half a second of work."""

_FEW_EDITS = 16
_EDITS_AT_ONCE = 256
_RUN_SPEED = 64
_C_SPEED = 16
_MANY = 4
_MAX_ANCHORED = 500_000


class Budget:
    """Work that may still be spent; one budget can be shared by several alignments."""

    def __init__(self, steps: int = STEPS) -> None:
        self.steps = steps


Match = tuple[int, int, int]
"""Start in the old items, start in the new ones, number of matched items."""


class Change(NamedTuple):
    """`old[old_start:old_end]` was replaced by `new[new_start:new_end]`; the items around it correspond."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


def changes(old: Sequence[Hashable], new: Sequence[Hashable], budget: Budget | None = None) -> list[Change]:
    """Return the differences between two sequences in order, with at least one matched item between any two.

    Insertions and deletions that fit several places are put at the last of them. Deterministic in its arguments.
    Sources: Myers, "An O(ND) Difference Algorithm and Its Variations" (1986); Cohen's patience diff for the anchors.
    """
    budget = budget or Budget()
    head = common_prefix(old, new)
    tail = common_suffix(old, new, limit=min(len(old), len(new)) - head)
    old_rest, new_rest = old[head : len(old) - tail], new[head : len(new) - tail]
    matches = _few_edits(old_rest, new_rest, budget)
    if matches is None:
        matches = _Alignment(old_rest, new_rest, budget).matches()
    found = _between(matches, len(old_rest), len(new_rest))
    return _settled([_moved(change, head) for change in found], old, new)


def common_prefix(
    left: Sequence[Hashable], right: Sequence[Hashable], at: int = 0, other: int = 0, limit: int | None = None
) -> int:
    """Count the equal items from `left[at]` and `right[other]` on, at most `limit`."""
    room = min(len(left) - at, len(right) - other)
    limit = room if limit is None else min(room, limit)
    count = 0
    near = min(limit, _C_SPEED)
    while count < near and left[at + count] == right[other + count]:
        count += 1
    if count < near:
        return count
    return _gallop(count, limit, lambda low, high: left[at + low : at + high] == right[other + low : other + high])


def common_suffix(
    left: Sequence[Hashable],
    right: Sequence[Hashable],
    at: int | None = None,
    other: int | None = None,
    limit: int | None = None,
) -> int:
    """Count the equal items before `left[at]` and `right[other]`, by default from the ends, at most `limit`."""
    at = len(left) if at is None else at
    other = len(right) if other is None else other
    limit = min(at, other) if limit is None else min(at, other, limit)
    count = 0
    near = min(limit, _C_SPEED)
    while count < near and left[at - count - 1] == right[other - count - 1]:
        count += 1
    if count < near:
        return count
    return _gallop(count, limit, lambda low, high: left[at - high : at - low] == right[other - high : other - low])


def _gallop(count: int, limit: int, equal: Callable[[int, int], bool]) -> int:
    """Extend a run of equal items by comparing whole slices, larger ones as long as they are equal."""
    step, growing = _C_SPEED, True
    while count < limit and step:
        size = min(step, limit - count)
        if equal(count, count + size):
            count += size
            step = step * 2 if growing else step
        else:
            growing = False
            step = size // 2
    return count


def _few_edits(old: Sequence[Hashable], new: Sequence[Hashable], budget: Budget) -> list[Match] | None:
    """Align sequences that differ little without looking at every item; None if they differ more."""
    if not old or not new:
        return []
    script = _EditScript(old, new, budget)
    return list(script.matches()) if script.run(_FEW_EDITS) else None


def _between(matches: list[Match], old_size: int, new_size: int) -> list[Change]:
    found = []
    old_at = new_at = 0
    for old_start, new_start, size in [*sorted(matches), (old_size, new_size, 0)]:
        if old_start > old_at or new_start > new_at:
            found.append(Change(old_at, old_start, new_at, new_start))
        old_at, new_at = old_start + size, new_start + size
    return found


def _settled(found: list[Change], old: Sequence[Hashable], new: Sequence[Hashable]) -> list[Change]:
    """Give each change one place: a pure one the last it fits, unless it can be moved to make one with its neighbour.

    An insertion and a deletion that can meet are a replacement; else one matched item stays before the next change.
    """
    settled: list[Change] = []
    for change in found:
        if settled and (replacement := _replacement(settled[-1], change, old, new)):
            settled[-1] = replacement
        else:
            if settled:
                settled[-1] = _moved(settled[-1], _slide(settled[-1], old, new, change.old_start - 1))
            settled.append(change)
    if settled:
        settled[-1] = _moved(settled[-1], _slide(settled[-1], old, new, len(old)))
    return settled


def _replacement(first: Change, second: Change, old: Sequence[Hashable], new: Sequence[Hashable]) -> Change | None:
    """Move an insertion up to a deletion before it, or a deletion up to an insertion, if it fits there as well."""
    if first.new_start == first.new_end and second.old_start == second.old_end:
        items, start, end = new, second.new_start, second.new_end
    elif first.old_start == first.old_end and second.new_start == second.new_end:
        items, start, end = old, second.old_start, second.old_end
    else:
        return None
    gap = second.old_start - first.old_end
    if common_suffix(items, items, start, end, gap) < gap:
        return None
    return Change(first.old_start, second.old_end - gap, first.new_start, second.new_end - gap)


def _slide(change: Change, old: Sequence[Hashable], new: Sequence[Hashable], ceiling: int) -> int:
    """Count how far down a change can move without passing a place in `old`."""
    old_start, old_end, new_start, new_end = change
    if old_start == old_end:
        return common_prefix(new, new, new_start, new_end, ceiling - old_end)
    if new_start == new_end:
        return common_prefix(old, old, old_start, old_end, ceiling - old_end)
    return 0


def _moved(change: Change, by: int) -> Change:
    return Change(*(place + by for place in change)) if by else change


class _Alignment:
    """One run of the matcher: gaps still to be aligned, and what was matched around them."""

    def __init__(self, old: Sequence[Hashable], new: Sequence[Hashable], budget: Budget) -> None:
        self._old = old
        self._new = new
        self._budget = budget
        self._matches: list[Match] = []
        self._gaps = [(0, len(old), 0, len(new))]

    def matches(self) -> list[Match]:
        while self._gaps:
            gap = self._trimmed(*self._gaps.pop())
            if gap and self._budget.steps > 0 and not self._anchor(*gap):
                self._search(*gap)
        return self._matches

    def _match(self, old_start: int, new_start: int, size: int) -> None:
        if size:
            self._matches.append((old_start, new_start, size))

    def _trimmed(self, low: int, high: int, left: int, right: int) -> tuple[int, int, int, int] | None:
        """Match what is equal at both ends of a gap; return the rest unless one side is used up."""
        head = common_prefix(self._old, self._new, low, left, min(high - low, right - left))
        self._match(low, left, head)
        low, left = low + head, left + head
        tail = common_suffix(self._old, self._new, high, right, min(high - low, right - left))
        self._match(high - tail, right - tail, tail)
        high, right = high - tail, right - tail
        return (low, high, left, right) if low < high and left < right else None

    def _anchor(self, low: int, high: int, left: int, right: int) -> bool:
        """Split a gap at items that occur once on each side, in the longest order both sides share."""
        if high - low + right - left > _MAX_ANCHORED:
            return False
        old, new = self._old[low:high], self._new[left:right]
        self._budget.steps -= 1 + (len(old) + len(new)) // _C_SPEED
        once = _singles(old) & _singles(new)
        self._budget.steps -= len(once) // 2
        if not once or self._budget.steps <= 0:
            return False
        places = {item: place for place, item in enumerate(new, left) if item in once}
        pairs = [(place, found) for place, found in enumerate(map(places.get, old), low) if found is not None]
        for old_at, new_at in _longest_rise(pairs):
            if old_at < low or new_at < left:
                continue
            size = common_prefix(self._old, self._new, old_at, new_at, min(high - old_at, right - new_at))
            self._match(old_at, new_at, size)
            self._gaps.append((low, old_at, left, new_at))
            low, left = old_at + size, new_at + size
        self._gaps.append((low, high, left, right))
        return True

    def _search(self, low: int, high: int, left: int, right: int) -> None:
        """Align a gap without anchors by the shortest edit script; past the limit in place, or by the best start."""
        old, new = self._old[low:high], self._new[left:right]
        self._budget.steps -= (len(old) + len(new)) // _RUN_SPEED
        script = _EditScript(old, new, self._budget)
        reached_end = script.run(_EDITS_AT_ONCE)
        matches = [] if reached_end else _in_place(old, new, self._budget)
        if not matches:
            matches = list(script.matches())
            if matches and not reached_end:
                x, y = script.reached
                self._gaps.append((low + x, high, left + y, right))
        for old_at, new_at, size in matches:
            self._match(low + old_at, left + new_at, size)


def _in_place(old: Sequence[Hashable], new: Sequence[Hashable], budget: Budget) -> list[Match]:
    """Match equal items at equal places, if that many are equal that items must have been edited one by one."""
    if len(old) != len(new):
        return []
    places = [place for place, equal in enumerate(map(eq, old, new)) if equal]
    if _MANY * len(places) < len(old) or _MANY * len(places) > budget.steps:
        return []
    budget.steps -= _MANY * len(places)
    return [(place, place, 1) for place in places]


def _singles(items: Sequence[Hashable]) -> set[Hashable]:
    return {item for item, count in Counter(items).items() if count == 1}


def _longest_rise(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest subsequence of pairs, ordered by their first, that rises in their second."""
    tops: list[int] = []
    heads: list[int] = []
    before: list[int] = []
    for index, (_, place) in enumerate(pairs):
        if not tops or place > tops[-1]:
            before.append(heads[-1] if heads else -1)
            tops.append(place)
            heads.append(index)
        else:
            pile = bisect_left(tops, place)
            before.append(heads[pile - 1] if pile else -1)
            tops[pile], heads[pile] = place, index
    rise = []
    index = heads[-1]
    while index >= 0:
        rise.append(pairs[index])
        index = before[index]
    return rise[::-1]


class _EditScript:
    """Myers' greedy search: how far each diagonal (x - y) gets with 0, 1, 2 ... edits.

    Row d holds diagonals -d, -d + 2 ... d as reached positions x in `old`; -1 marks those outside the grid.
    """

    def __init__(self, old: Sequence[Hashable], new: Sequence[Hashable], budget: Budget) -> None:
        self._old = old
        self._new = new
        self._budget = budget
        self._rows: list[list[int]] = []
        self.reached = (0, 0)

    def run(self, limit: int) -> bool:
        """Search with up to `limit` edits as far as the budget goes; return whether the end was reached."""
        end = (len(self._old), len(self._new))
        while self.reached != end and len(self._rows) <= limit and self._budget.steps > 0:
            self._add_row()
        return self.reached == end

    def matches(self) -> Iterator[Match]:
        """Walk the script that got furthest back to its start, yielding its matches."""
        x, y = self.reached
        for edits in range(len(self._rows) - 1, -1, -1):
            index = (x - y + edits) // 2
            start = self._entry(edits, index)
            if x > start:
                yield start, start - (x - y), x - start
            y = start - (x - y)
            x = start
            down = index < edits and self._rows[edits - 1][index] == start
            x, y = (x, y - 1) if down else (x - 1, y)

    def _add_row(self) -> None:
        old, new = self._old, self._new
        width, height = len(old), len(new)
        edits = len(self._rows)
        row: list[int] = []
        furthest, work = -1, edits + 1
        for index in range(edits + 1):
            x = self._entry(edits, index)
            y = x - (2 * index - edits)
            if -1 < x < width and y < height and old[x] == new[y]:
                run = common_prefix(old, new, x, y)
                work += run // _RUN_SPEED
                x, y = x + run, y + run
            row.append(x)
            if x >= 0 and x + y > furthest:
                furthest = x + y
                self.reached = (x, y)
        self._rows.append(row)
        self._budget.steps -= work

    def _entry(self, edits: int, index: int) -> int:
        """Return where a diagonal is entered from the row before: one step down or right, whichever is further."""
        if not edits:
            return 0
        before = self._rows[edits - 1]
        down = before[index] if index < edits else -1
        if down - (2 * index - edits) > len(self._new):
            down = -1
        right = before[index - 1] + 1 if index and before[index - 1] >= 0 else -1
        if right > len(self._old):
            right = -1
        return max(down, right)
