"""3-way merge of Markdown: lines first, words where both sides changed the same prose, else a conflict.

Line ends, the byte order mark and the final newline are merged on their own; nothing is normalised. Every byte of a
result was written by somebody, except the line end that an unterminated last line needs once another follows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from .lines import Conversion, Lines, Span, any_end, conversion, count_ends, last_end, settled
from .markdown import Protection, leaves_open, starts_front_matter
from .matching import Budget, Change, changes
from .pairing import Region, Rules, regions
from .words import merge_words

MAX_LINES = 1_000_000
"""Lines up to which documents are merged; above, two changed versions are one conflict."""

MAX_CHANGES = 10_000
"""Changes of a side that are looked at one by one; of more, neighbours count as one."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Some lines of one version, byte for byte; if none, `start` is the line before which they would stand."""

    start: int
    """Number of the first line, counted from 1."""
    lines: int
    text: str


@dataclass(frozen=True, slots=True)
class Hunk:
    """A region that at least one side changed: what it was, what each side made of it, what it becomes."""

    base: Slice
    ours: Slice
    theirs: Slice
    merged: str | None
    """Its text in the result; None if the sides conflict."""

    @property
    def conflict(self) -> bool:
        """Whether somebody has to choose."""
        return self.merged is None


@dataclass(frozen=True, slots=True)
class Merge:
    """The outcome of a merge; the base with the hunks' merged texts in place of their base slices is the content."""

    content: bytes | None
    """The merged document; None if there is a conflict."""
    hunks: tuple[Hunk, ...]

    @property
    def conflicts(self) -> int:
        """How many hunks are conflicts."""
        return sum(hunk.conflict for hunk in self.hunks)


def merge(base: bytes, ours: bytes, theirs: bytes) -> Merge:
    """Merge two versions of a document that were made from one base.

    Commutative in its content. What one side inserted, edited or deleted is so in the result, or there is a conflict.
    Raises `UnicodeDecodeError`. Source: Khanna, Kunal, Pierce, "A Formal Investigation of Diff3" (2007).
    """
    return _merge(base, ours, theirs, keep_both=False)


def merge_edits(base: bytes, current: bytes, proposed: bytes) -> Merge:
    """Merge a save into what was accepted since its base, keeping what both added at the end or at the start.

    The outcome is what the second writer would have got after seeing the first save: of appended lines the accepted
    ones come first, of prepended lines the later ones are on top. All else as `merge`; equal versions count once.
    Raises `UnicodeDecodeError`.
    """
    return _merge(base, current, proposed, keep_both=True)


_LINES = Rules(blank=lambda line: not line.strip(), apart=lambda start, end: end > start, touch=True)
_EDGES = _LINES._replace(slide=False)

Value = TypeVar("Value", bool, str)


def _merge(base: bytes, ours: bytes, theirs: bytes, *, keep_both: bool) -> Merge:
    if max(content.count(b"\n") + content.count(b"\r") for content in (base, ours, theirs)) > MAX_LINES:
        return _merge_whole(base, ours, theirs)
    return _Merger(base, ours, theirs, keep_both=keep_both).run() or _merge_whole(base, ours, theirs)


def _merge_whole(base: bytes, ours: bytes, theirs: bytes) -> Merge:
    """Merge documents as if each were a single line."""
    content = theirs if ours == base else ours if theirs in {base, ours} else None
    if base == ours == theirs:
        return Merge(content, ())
    texts = [document.decode() for document in (base, ours, theirs)]
    whole = [Slice(1, count_ends(text) + (text != "" and not last_end(text)), text) for text in texts]
    return Merge(content, (Hunk(whole[0], whole[1], whole[2], None if content is None else content.decode()),))


class _Merger:
    """One merge: three documents, cut into regions, each region given its text."""

    def __init__(self, base: bytes, ours: bytes, theirs: bytes, *, keep_both: bool) -> None:
        self._base, self._ours, self._theirs = Lines.of(base), Lines.of(ours), Lines.of(theirs)
        self._documents = (self._base, self._ours, self._theirs)
        self._keep_both = keep_both and ours != theirs
        ends = {lines.end for lines in self._documents} - {""}
        self._one_end = len(ends) <= 1 and None not in ends
        self._terminated = self._final_newline()
        self._turned: tuple[Conversion, Conversion] = ({}, {})
        self._protections: tuple[Protection, ...] = ()
        self._word_budget = Budget()

    def run(self) -> Merge | None:
        """Merge; None if the outcome would not fall into the lines it was put together from."""
        found = self._regions()
        if not self._one_end:
            self._turned = (self._conversion(found, 1), self._conversion(found, 2))
        found = [piece for region in found for piece in self._cut(region)]
        texts = [self._text(region) for region in found]
        clean = [text for text in texts if text is not None]
        if len(clean) < len(texts):
            return Merge(None, self._hunks(found, texts))
        self._end_lines(found, clean)
        content = "".join(clean)
        if "\r" in content and count_ends(content) < sum(map(count_ends, clean)):
            return None  # a lone \r of one side came to stand before a \n of the other and fused with it
        mark = _two_valued(*(lines.bom for lines in self._documents))
        return Merge((mark + content).encode(), self._hunks(found, clean))

    def _final_newline(self) -> bool | None:
        """Merge whether the last line has an end; None to leave it as it comes. An empty document has no say."""
        if not len(self._base):
            return None
        ours, theirs = ((side if len(side) else self._base).terminated for side in (self._ours, self._theirs))
        return _two_valued(self._base.terminated, ours, theirs)

    def _regions(self) -> list[Region]:
        base, sides = self._base.span.texts, (self._ours.span.texts, self._theirs.span.texts)
        edges = (_edge(base, sides[0]), _edge(base, sides[1])) if self._keep_both else (None, None)
        if edges[0] and edges[1]:
            found = regions(base, sides, ([edges[0]], [edges[1]]), _EDGES)
        else:
            found = regions(base, sides, (_changes(base, sides[0]), _changes(base, sides[1])), _LINES)
        return [piece for region in found for piece in self._both_kept(region)] if self._keep_both else found

    def _both_kept(self, region: Region) -> list[Region]:
        """Put what both sides added at one edge of the document one after the other."""
        base, ours, theirs = region.places
        at_end, at_start = base.start == len(self._base), base.stop == 0
        if not (region.by_ours and region.by_theirs and (at_end or at_start)) or self._swallows(region):
            return [region]
        if at_end:
            self._terminated = None
            return [
                Region(_places(base, ours, _empty(theirs.start)), by_ours=True, by_theirs=False),
                Region(_places(base, _empty(ours.stop), theirs), by_ours=False, by_theirs=True),
            ]
        return [
            Region(_places(base, _empty(ours.start), theirs), by_ours=False, by_theirs=True),
            Region(_places(base, ours, _empty(theirs.stop)), by_ours=True, by_theirs=False),
        ]

    def _swallows(self, region: Region) -> bool:
        """Tell whether one addition would change what the other is: an open fence above, front matter below it."""
        base, ours, theirs = (
            lines.span.texts[: place.stop] for lines, place in zip(self._documents, region.places, strict=True)
        )
        if not base and (starts_front_matter(ours) or starts_front_matter(theirs)):
            return True
        first = ours if len(base) == len(self._base) else theirs
        return leaves_open(first) and not leaves_open(base)

    def _cut(self, region: Region) -> list[Region]:
        """Cut an unchanged region around the lines whose ends did change, from the first such line to the last."""
        base, ours, theirs = self._ends(region)
        if region.changed or base == ours == theirs:
            return [region]
        differing = [at for at, ends in enumerate(zip(base, ours, theirs, strict=True)) if len({*ends}) > 1]
        first, last = differing[0], differing[-1] + 1
        cuts = ((0, first), (first, last), (last, len(base)))
        places = [[slice(place.start + a, place.start + b) for place in region.places] for a, b in cuts]
        return [
            Region(_places(*places[0]), by_ours=False, by_theirs=False),
            Region(_places(*places[1]), by_ours=ours != base, by_theirs=theirs != base),
            Region(_places(*places[2]), by_ours=False, by_theirs=False),
        ]

    def _ends(self, region: Region) -> list[list[str]]:
        return [lines.span.ends[place] for lines, place in zip(self._documents, region.places, strict=True)]

    def _conversion(self, found: list[Region], side: int) -> Conversion:
        pairs: set[tuple[str, str]] = set()
        for region in found:
            if not (region.by_ours, region.by_theirs)[side - 1]:
                ends = self._ends(region)
                pairs.update(zip(ends[0], ends[side], strict=True))
        return conversion(pairs)

    def _text(self, region: Region) -> str | None:
        """Return what a region becomes, None if it is a conflict."""
        base, ours, theirs = self._ends(region)
        if self._one_end and not region.by_theirs and theirs == base:
            return self._ours.text(region.places[1])
        if self._one_end and not region.by_ours and ours == base:
            return self._theirs.text(region.places[2])
        merged = self._merged(region)
        if merged is None:
            return None
        text = merged.join()
        return text if count_ends(text) == sum(map(bool, merged.ends)) else None

    def _merged(self, region: Region) -> Span | None:
        base, ours, theirs = (
            lines.span.part(place) for lines, place in zip(self._documents, region.places, strict=True)
        )
        merged = settled(base, ours, theirs, *self._turned)
        if merged is None and base.texts and ours.texts and theirs.texts and self._is_prose(region):
            return merge_words(base, ours, theirs, *self._turned, self._word_budget)
        return merged

    def _is_prose(self, region: Region) -> bool:
        self._protections = self._protections or tuple(Protection(lines.span.texts) for lines in self._documents)
        return not any(map(Protection.covers, self._protections, region.places))

    def _end_lines(self, found: list[Region], texts: list[str]) -> None:
        """End lines that were last on their side and are not now; give the last line its end, or none, as merged."""
        filled = [at for at, text in enumerate(texts) if text]
        for at in filled[:-1]:
            if not last_end(texts[at]):
                texts[at] += self._end_near(texts, at)
        if not filled or self._terminated is None:
            return
        last = filled[-1]
        end = last_end(texts[last])
        line = texts[last].removesuffix(end)
        if self._terminated and not end:
            self._rewrite_last(found, texts, last, self._end_near(texts, last))
        elif end and not self._terminated and line and not last_end(line):
            self._rewrite_last(found, texts, last, "")

    def _rewrite_last(self, found: list[Region], texts: list[str], at: int, end: str) -> None:
        """Give a region's last line another end; if the region is unchanged, only that line becomes a changed one."""
        region, text = found[at], texts[at]
        text = text.removesuffix(last_end(text))
        if region.changed:
            texts[at] = text + end
            return
        line = self._base.span.texts[region.places[0].stop - 1]
        above = _places(*(slice(place.start, place.stop - 1) for place in region.places))
        below = _places(*(slice(place.stop - 1, place.stop) for place in region.places))
        found[at : at + 1] = [
            Region(above, by_ours=False, by_theirs=False),
            Region(below, by_ours=True, by_theirs=True),
        ]
        texts[at : at + 1] = [text.removesuffix(line), line + end]

    def _end_near(self, texts: list[str], at: int) -> str:
        """Return the line end used nearest before a place, else after it, else in any version."""
        near = (any_end(text) for text in (*texts[at::-1], *texts[at + 1 :]))
        return next(filter(None, near), "") or next(filter(None, (lines.end for lines in self._documents)), "\n")

    def _hunks(self, found: list[Region], texts: Sequence[str | None]) -> tuple[Hunk, ...]:
        hunks = []
        marks = [lines.bom for lines in self._documents]
        if len(set(marks)) > 1:
            base, ours, theirs = (Slice(1, 0, mark) for mark in marks)
            hunks.append(Hunk(base, ours, theirs, _two_valued(*marks)))
        for region, text in zip(found, texts, strict=True):
            if region.changed:
                base, ours, theirs = (
                    Slice(place.start + 1, place.stop - place.start, lines.text(place))
                    for lines, place in zip(self._documents, region.places, strict=True)
                )
                hunks.append(Hunk(base, ours, theirs, text))
        return tuple(hunks)


def _changes(base: list[str], side: list[str]) -> list[Change]:
    """Return the changes of a side; join neighbours until there are not too many to look at."""
    found = changes(base, side)
    distance = 1
    while len(found) > MAX_CHANGES:
        joined: list[Change] = []
        for change in found:
            if joined and change.old_start - joined[-1].old_end <= distance:
                joined[-1] = joined[-1]._replace(old_end=change.old_end, new_end=change.new_end)
            else:
                joined.append(change)
        found, distance = joined, distance * 4
    return found


def _edge(base: list[str], side: list[str]) -> Change | None:
    """Return the change of a side that only appended, or only prepended, lines."""
    size, more = len(base), len(side) - len(base)
    if more <= 0:
        return None
    if side[:size] == base:
        return Change(size, size, size, size + more)
    return Change(0, 0, 0, more) if side[more:] == base else None


def _places(base: slice, ours: slice, theirs: slice) -> tuple[slice, slice, slice]:
    return base, ours, theirs


def _empty(at: int) -> slice:
    return slice(at, at)


def _two_valued(base: Value, ours: Value, theirs: Value) -> Value:
    """Merge a token with only two values: both sides cannot change it differently."""
    return theirs if ours == base else ours
