"""Which elements of two sequences correspond: near-linear, for documents of any size."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")
Pairs = list[tuple[int, int]]

_SMALL = 1 << 16
_FEW = 1 << 12
_WORD = re.compile(r"\w+\s*|\s+|[^\w\s]")


def align(old: Sequence[Hashable], new: Sequence[Hashable]) -> Pairs:
    """Pairs of equal elements, ascending: equal ends, then unique elements, then a full diff of what is small."""
    pairs: Pairs = []
    todo = [(0, len(old), 0, len(new))]
    while todo:
        a, b, c, d = todo.pop()
        while a < b and c < d and old[a] == new[c]:
            pairs.append((a, c))
            a, c = a + 1, c + 1
        while a < b and c < d and old[b - 1] == new[d - 1]:
            b, d = b - 1, d - 1
            pairs.append((b, d))
        if a == b or c == d:
            continue
        anchors = _anchors(old, new, (a, b, c, d))
        if anchors:
            pairs += anchors
            bounds = [(a - 1, c - 1), *anchors, (b, d)]
            todo += [(i + 1, k, j + 1, m) for (i, j), (k, m) in pairwise(bounds)]
        elif (b - a) * (d - c) <= _SMALL:
            matcher = SequenceMatcher(None, old[a:b], new[c:d], autojunk=False)
            pairs += [(a + m.a + k, c + m.b + k) for m in matcher.get_matching_blocks() for k in range(m.size)]
        else:
            pairs += [(a + k, c + k) for k in range(min(b - a, d - c)) if old[a + k] == new[c + k]]
    return sorted(pairs)


def _anchors(old: Sequence[Hashable], new: Sequence[Hashable], within: tuple[int, int, int, int]) -> Pairs:
    """The longest ascending chain of elements that occur once on each side (patience diff)."""
    a, b, c, d = within
    here, there = Counter(old[a:b]), Counter(new[c:d])
    where = {new[j]: j for j in range(c, d) if there[new[j]] == 1}
    unique = [(i, where[old[i]]) for i in range(a, b) if here[old[i]] == 1 and old[i] in where]
    tails: list[int] = []
    ends: list[int] = []
    back: list[int] = []
    for at, (_, j) in enumerate(unique):
        place = bisect_left(tails, j)
        tails[place : place + 1] = [j]
        ends[place : place + 1] = [at]
        back.append(ends[place - 1] if place else -1)
    chain: Pairs = []
    at = ends[-1] if ends else -1
    while at >= 0:
        chain.append(unique[at])
        at = back[at]
    return chain[::-1]


def hunks(pairs: Pairs, old: int, new: int) -> Iterator[tuple[int, int, int, int]]:
    """The unmatched ranges (old start, old end, new start, new end) between matched pairs."""
    for (a, c), (b, d) in pairwise([(-1, -1), *pairs, (old, new)]):
        if b - a > 1 or d - c > 1:
            yield a + 1, b, c + 1, d


def correspond(old: Sequence[T], new: Sequence[T], kind: Callable[[T], Hashable], text: Callable[[T], str]) -> Pairs:
    """Which changed elements are new forms of each other: same kind, ascending, those that share most words."""
    if len(old) * len(new) > _FEW or len(old) == len(new):
        return [(i, i) for i in range(min(len(old), len(new))) if kind(old[i]) == kind(new[i])]
    before = [Counter(_WORD.findall(text(item))) for item in old]
    after = [Counter(_WORD.findall(text(item))) for item in new]
    like = [
        [_likeness(b, a) if kind(x) == kind(y) else -1 for y, a in zip(new, after, strict=True)]
        for x, b in zip(old, before, strict=True)
    ]
    score = [[0.0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i in range(len(old) - 1, -1, -1):
        for j in range(len(new) - 1, -1, -1):
            score[i][j] = max(score[i + 1][j + 1] + like[i][j], score[i + 1][j], score[i][j + 1])
    pairs: Pairs = []
    i = j = 0
    while i < len(old) and j < len(new):
        if score[i][j] == score[i + 1][j + 1] + like[i][j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif score[i][j] == score[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _likeness(before: Counter[str], after: Counter[str]) -> float:
    return 0.01 + 2 * (before & after).total() / ((before.total() + after.total()) or 1)


def edits(old: str, new: str) -> list[tuple[int, int, str]]:
    """Replacements (start, end, text) that turn `old` to `new`, last one first, by words and then by characters."""
    out: list[tuple[int, int, str]] = []
    a, b = _WORD.findall(old), _WORD.findall(new)
    starts = [0]
    for word in a:
        starts.append(starts[-1] + len(word))
    for i, k, j, m in hunks(align(a, b), len(a), len(b)):
        out.append(_trimmed(starts[i], old[starts[i] : starts[k]], "".join(b[j:m])))
    return out[::-1]


def stretches(old: str, new: str) -> Iterator[tuple[int, int, int]]:
    """What `edits` leaves alone, as (start in old, start in new, length)."""
    at, shift = 0, 0
    for start, end, text in edits(old, new)[::-1]:
        if start > at:
            yield at, at + shift, start - at
        shift += len(text) - (end - start)
        at = end
    if len(old) > at:
        yield at, at + shift, len(old) - at


def _trimmed(start: int, old: str, new: str) -> tuple[int, int, str]:
    """The replacement without what both sides begin and end with."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return start + head, start + len(old) - tail, new[head : len(new) - tail]
