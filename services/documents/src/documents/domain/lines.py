"""A document as lines: their texts, their ends, the byte order mark; nothing is lost and nothing normalised."""

import re
from dataclasses import dataclass
from typing import NamedTuple

BOM = "\ufeff"

_ANY_END = re.compile(r"\r\n?|\n")


@dataclass(frozen=True, slots=True)
class Lines:
    r"""Texts and ends, index by index. An end is `\n`, `\r\n` or lone `\r`, and "" only after an unterminated last line.

    These are CommonMark's line endings; form feeds, U+2028 and the like are text.
    """

    texts: list[str]
    ends: list[str]
    bom: str
    uniform: str | None
    """The only line end in use, "" if there is none at all, None if they are mixed."""

    @classmethod
    def of(cls, content: bytes) -> "Lines":
        """Split a document. Raises `UnicodeDecodeError`."""
        text = content.decode()
        bom = BOM if text.startswith(BOM) else ""
        text = text[len(bom) :]
        uniform = _uniform(text)
        if uniform is None:
            texts, ends = _split_mixed(text)
        else:
            texts = text.split(uniform) if uniform else [text]
            ends = [uniform] * (len(texts) - 1)
        if texts[-1]:
            ends.append("")
        else:
            texts.pop()
        return cls(texts, ends, bom, uniform)

    @property
    def terminated(self) -> bool:
        """Whether the last line has an end; an empty document lacks none."""
        return not self.ends or bool(self.ends[-1])

    def text(self, where: slice) -> str:
        """Return some lines exactly as they stand in the document."""
        texts = self.texts[where]
        if not texts:
            return ""
        if self.uniform is None:
            return joined(texts, self.ends[where])
        return self.uniform.join(texts) + self.ends[where.stop - 1]

    def part(self, where: slice) -> "Span":
        """Return some lines with their ends."""
        return Span(self.texts[where], self.ends[where])


class Span(NamedTuple):
    """Lines, or words, with the line end of each; "" after a word, and after a line that has none."""

    texts: list[str]
    ends: list[str]

    def part(self, where: slice) -> "Span":
        """Return some of the lines."""
        return Span(self.texts[where], self.ends[where])


Conversion = dict[str, str]
"""Line end in the base -> the one that replaced it wherever its line survived."""


def settled(base: Span, ours: Span, theirs: Span, ours_turned: Conversion, theirs_turned: Conversion) -> Span | None:
    """Merge what at most one side wrote differently, or both alike; None if they differ, in text or in an end.

    Text comes from the side that changed it. The end of a line both kept or rewrote in place is merged on its own, so
    an edited line takes the end the other side converted it to; lines added where the other side turned every such
    end into another follow suit.
    """
    if theirs.texts == base.texts:
        return _with_ends(ours, base, theirs, theirs_turned)
    if ours.texts == base.texts:
        return _with_ends(theirs, base, ours, ours_turned)
    if ours.texts != theirs.texts:
        return None
    if ours.ends == theirs.ends:
        return ours
    if len(ours.ends) == len(base.ends):
        return _with_ends(ours, base, theirs, {})
    converted = Span(ours.texts, [theirs_turned.get(end, end) for end in ours.ends])
    others = Span(theirs.texts, [ours_turned.get(end, end) for end in theirs.ends])
    return _with_ends(converted, Span(base.texts, [""] * len(ours.ends)), others, {})


def conversion(pairs: set[tuple[str, str]]) -> Conversion:
    """Return which line ends were turned into which, from the (base, side) ends of all surviving lines."""
    turned: dict[str, set[str]] = {}
    for before, after in pairs:
        if before and after:
            turned.setdefault(before, set()).add(after)
    return {before: after.pop() for before, after in turned.items() if len(after) == 1}


def merged_end(base: str, ours: str, theirs: str) -> str | None:
    """Merge the end of one line; None if both sides changed it differently. A missing end is no opinion."""
    ours, theirs = ours or base or theirs, theirs or base or ours
    if theirs in {ours, base}:
        return ours
    return theirs if ours == base else None


def joined(texts: list[str], ends: list[str]) -> str:
    """Return lines as text."""
    return "".join([text + end for text, end in zip(texts, ends, strict=True)])


def count_ends(text: str) -> int:
    """Count the line ends of a text."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def last_end(text: str) -> str:
    """Return the end of the last line, "" if it is unterminated."""
    return text[-2:] if text.endswith("\r\n") else text[-1:] if text.endswith(("\n", "\r")) else ""


def any_end(text: str) -> str:
    """Return the last line end found anywhere in a text, "" if there is none."""
    at = max(text.rfind("\n"), text.rfind("\r"))
    return last_end(text[max(at - 1, 0) : at + 1]) if at >= 0 else ""


def _with_ends(own: Span, base: Span, other: Span, turned: Conversion) -> Span | None:
    if len(own.ends) != len(base.ends) or len(other.ends) != len(base.ends):
        return Span(own.texts, [turned.get(end, end) for end in own.ends])
    if base.ends == other.ends and own.ends[-1:] != [""]:
        return own
    ends = [merged_end(*three) for three in zip(base.ends, own.ends, other.ends, strict=True)]
    return None if None in ends else Span(own.texts, [end or "" for end in ends])


def _uniform(text: str) -> str | None:
    if "\r" not in text:
        return "\n" if "\n" in text else ""
    feeds, returns = text.count("\n"), text.count("\r")
    if not feeds:
        return "\r"
    return "\r\n" if text.count("\r\n") == feeds == returns else None


def _split_mixed(text: str) -> tuple[list[str], list[str]]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), _ANY_END.findall(text)
