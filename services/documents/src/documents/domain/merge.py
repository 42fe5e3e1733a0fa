"""3-way merge of Markdown: lines first, words where both sides changed the same prose, else a conflict.

Line ends, the byte order mark and the final newline are merged on their own; nothing is normalised. Every byte of a
result was written by somebody, except the line end that an unterminated last line needs once another follows it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import ne
from typing import TypeVar

from .lines import Conversion, Lines, Span, any_end, conversion, count_ends, joined, last_end, settled
from .markdown import leaves_open, protected_lines, starts_front_matter
from .matching import Budget, Change, changes
from .pairing import Region, Rules, regions
from .words import merge_words


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
    return _Merger(base, ours, theirs, keep_both=False).run()


def merge_edits(base: bytes, current: bytes, proposed: bytes) -> Merge:
    """Merge a save into what was accepted since its base, keeping what both added at the end or at the start.

    The outcome is what the second writer would have got after seeing the first save: of appended lines the accepted
    ones come first, of prepended lines the later ones are on top. All else as `merge`; equal versions count once.
    Raises `UnicodeDecodeError`.
    """
    return _Merger(base, current, proposed, keep_both=True).run()


_LINES = Rules(blank=lambda line: not line.strip(), apart=lambda start, end: end > start, touch=True)
_EDGES = _LINES._replace(slide=False)
_OURS, _THEIRS = 1, 2

T = TypeVar("T", bool, str)


class _Merger:
    """One merge: three documents, cut into regions, each region given its text."""

    def __init__(self, base: bytes, ours: bytes, theirs: bytes, *, keep_both: bool) -> None:
        self._documents = (Lines.of(base), Lines.of(ours), Lines.of(theirs))
        self._keep_both = keep_both and ours != theirs
        ends = {lines.uniform for lines in self._documents} - {""}
        self._one_end = len(ends) <= 1 and None not in ends
        self._terminated = self._final_newline()
        self._turned: tuple[Conversion, Conversion] = ({}, {})
        self._protected: list[bytearray | None] = [None, None, None]
        self._budget = Budget()

    def run(self) -> Merge:
        found = self._regions()
        if not self._one_end:
            self._turned = (self._conversion(found, _OURS), self._conversion(found, _THEIRS))
        found = [piece for region in found for piece in self._cut(region)]
        texts = [self._text(region) for region in found]
        clean = [text for text in texts if text is not None]
        if len(clean) < len(texts):
            return Merge(None, self._hunks(found, texts))
        self._end_lines(found, clean)
        content = "".join(clean)
        if "\r" in content and count_ends(content) < sum(
            map(count_ends, clean)
        ):  # a lone \r of one side before a \n of the other
            whole = [Region(*(slice(0, len(lines.texts)) for lines in self._documents), by_ours=True, by_theirs=True)]
            return Merge(None, self._hunks(whole, [None]))
        mark = _three_way(*(lines.bom for lines in self._documents))
        return Merge((mark + content).encode(), self._hunks(found, clean))

    def _final_newline(self) -> bool | None:
        """Merge whether the last line has an end; None to leave it as it comes. An empty document has no say."""
        base, ours, theirs = self._documents
        if not base.texts:
            return None
        return _three_way(base.terminated, *((side if side.texts else base).terminated for side in (ours, theirs)))

    def _regions(self) -> list[Region]:
        base, ours, theirs = (lines.texts for lines in self._documents)
        if not self._keep_both:
            return regions(base, ours, theirs, self._changes(ours), self._changes(theirs), _LINES)
        edges = (_edge(base, ours), _edge(base, theirs))
        if edges[0] and edges[1]:
            found = regions(base, ours, theirs, [edges[0]], [edges[1]], _EDGES)
        else:
            found = regions(base, ours, theirs, self._changes(ours), self._changes(theirs), _LINES)
        return [piece for region in found for piece in self._both_kept(region)]

    def _changes(self, side: list[str]) -> list[Change]:
        return changes(self._documents[0].texts, side, self._budget)

    def _both_kept(self, region: Region) -> Iterator[Region]:
        """Put what both sides added at one edge of the document one after the other, unless one would swallow the other."""
        at, ours, theirs = region.base.stop, region.ours, region.theirs
        size = len(self._documents[0].texts)
        if not (region.by_ours and region.by_theirs) or region.base.start < at or at not in {0, size}:
            yield region
        elif self._swallows(region):
            yield region
        elif at == size:
            self._terminated = None
            yield Region(region.base, ours, slice(theirs.start, theirs.start), by_ours=True, by_theirs=False)
            yield Region(region.base, slice(ours.stop, ours.stop), theirs, by_ours=False, by_theirs=True)
        else:
            yield Region(region.base, slice(ours.start, ours.start), theirs, by_ours=False, by_theirs=True)
            yield Region(region.base, ours, slice(theirs.stop, theirs.stop), by_ours=True, by_theirs=False)

    def _swallows(self, region: Region) -> bool:
        """Tell whether one addition would change what the other is: an open fence above it, front matter below it."""
        base, ours, theirs = (
            lines.texts[: where.stop] for lines, where in zip(self._documents, region[:3], strict=True)
        )
        if not region.base.stop and (starts_front_matter(ours) or starts_front_matter(theirs)):
            return True
        first = theirs if region.base.stop < len(self._documents[0].texts) else ours
        return leaves_open(first) and not leaves_open(base)

    def _cut(self, region: Region) -> list[Region]:
        """Cut an unchanged region where line ends did change."""
        base, ours, theirs = (lines.ends[where] for lines, where in zip(self._documents, region[:3], strict=True))
        if region.by_ours or region.by_theirs or base == ours == theirs:
            return [region]
        pieces = []
        at = 0
        for changed, run in groupby(zip(map(ne, base, ours), map(ne, base, theirs), strict=True)):
            size = sum(1 for _ in run)
            spans = (slice(where.start + at, where.start + at + size) for where in region[:3])
            pieces.append(Region(*spans, *changed))
            at += size
        return pieces

    def _conversion(self, found: list[Region], side: int) -> Conversion:
        base, other = self._documents[0], self._documents[side]
        pairs: set[tuple[str, str]] = set()
        for region in found:
            if not region[2 + side]:
                pairs.update(zip(base.ends[region.base], other.ends[region[side]], strict=True))
        return conversion(pairs)

    def _text(self, region: Region) -> str | None:
        """Return what a region becomes, None if it is a conflict."""
        base, ours, theirs = (lines.ends[where] for lines, where in zip(self._documents, region[:3], strict=True))
        if self._one_end and not region.by_theirs and theirs == base:
            return self._documents[_OURS].text(region.ours)
        if self._one_end and not region.by_ours and ours == base:
            return self._documents[_THEIRS].text(region.theirs)
        return self._decided(region)

    def _decided(self, region: Region) -> str | None:
        base, ours, theirs = (lines.part(where) for lines, where in zip(self._documents, region[:3], strict=True))
        merged = settled(base, ours, theirs, *self._turned)
        if merged is None and base.texts and ours.texts and theirs.texts and self._is_prose(region):
            merged = merge_words(base, ours, theirs, *self._turned, self._budget)
        if merged is None:
            return None
        text = joined(*merged)
        return text if count_ends(text) == sum(map(bool, merged.ends)) else None

    def _is_prose(self, region: Region) -> bool:
        return not any(1 in self._protection(at)[where] for at, where in enumerate(region[:3]))

    def _protection(self, at: int) -> bytearray:
        known = self._protected[at]
        if known is None:
            known = self._protected[at] = protected_lines(self._documents[at].texts)
        return known

    def _end_lines(self, found: list[Region], texts: list[str]) -> None:
        """End lines that were last on their side and are not now; give the last line its end, or none, as merged."""
        *inner, last = [at for at, text in enumerate(texts) if text] or [-1]
        for at in inner:
            if not last_end(texts[at]):
                texts[at] += self._end_near(texts, at)
        if last < 0 or self._terminated is None:
            return
        end = last_end(texts[last])
        line = texts[last].removesuffix(end)
        if self._terminated and not end:
            self._rewrite_last(found, texts, last, self._end_near(texts, last))
        elif end and not self._terminated and line and not last_end(line):
            self._rewrite_last(found, texts, last, "")

    def _rewrite_last(self, found: list[Region], texts: list[str], at: int, end: str) -> None:
        """Give a region's last line another end; if the region is unchanged, only that line becomes a changed one."""
        region, text = found[at], texts[at]
        head = text.removesuffix(last_end(text))
        if region.by_ours or region.by_theirs:
            texts[at] = head + end
            return
        line = self._documents[0].texts[region.base.stop - 1]
        above = (slice(where.start, where.stop - 1) for where in region[:3])
        below = (slice(where.stop - 1, where.stop) for where in region[:3])
        found[at : at + 1] = [
            Region(*above, by_ours=False, by_theirs=False),
            Region(*below, by_ours=True, by_theirs=True),
        ]
        texts[at : at + 1] = [head.removesuffix(line), line + end]

    def _end_near(self, texts: list[str], at: int) -> str:
        """Return the line end used nearest before a place, else after it, else anywhere."""
        near = (any_end(text) for text in [*texts[at::-1], *texts[at + 1 :]])
        return next(filter(None, near), "") or next(filter(None, (lines.uniform for lines in self._documents)), "\n")

    def _hunks(self, found: list[Region], texts: Sequence[str | None]) -> tuple[Hunk, ...]:
        marks = [lines.bom for lines in self._documents]
        hunks = [Hunk(*(Slice(1, 0, mark) for mark in marks), merged=_three_way(*marks))] if len(set(marks)) > 1 else []
        for region, text in zip(found, texts, strict=True):
            if region.by_ours or region.by_theirs:
                slices = (
                    Slice(where.start + 1, where.stop - where.start, lines.text(where))
                    for lines, where in zip(self._documents, region[:3], strict=True)
                )
                hunks.append(Hunk(*slices, merged=text))
        return tuple(hunks)


def _three_way(base: T, ours: T, theirs: T) -> T:
    """Merge a token that has only two values, so that both sides cannot change it differently."""
    return theirs if ours == base else ours


def _edge(base: list[str], side: list[str]) -> Change | None:
    """Return the change of a side that only appended, or only prepended, lines."""
    size, more = len(base), len(side) - len(base)
    if more <= 0:
        return None
    if side[:size] == base:
        return Change(size, size, size, size + more)
    return Change(0, 0, 0, more) if side[more:] == base else None
