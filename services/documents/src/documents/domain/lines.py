"""A document as lines: their texts, their ends, the byte order mark; nothing is lost and nothing normalised."""

import re
from dataclasses import dataclass
from typing import NamedTuple

BOM = "\ufeff"

_ANY_END = re.compile(r"\r\n?|\n")


class Span(NamedTuple):
    """Lines, or words, with the line end of each; "" after a word, and after a line that has none."""

    texts: list[str]
    ends: list[str]

    def part(self, place: slice) -> "Span":
        """Return some of the lines."""
        return Span(self.texts[place], self.ends[place])

    def join(self) -> str:
        """Return the lines as text."""
        return "".join([text + end for text, end in zip(self.texts, self.ends, strict=True)])


@dataclass(frozen=True, slots=True)
class Lines:
    r"""A document taken apart. A line end is `\n`, `\r\n` or lone `\r`, as in CommonMark.

    Form feeds, U+2028 and the like are text. Only the last line may have the end "".
    """

    span: Span
    bom: str
    end: str | None
    """The only line end in use, "" if there is none at all, None if they are mixed."""

    @classmethod
    def of(cls, content: bytes) -> "Lines":
        """Split a document. Raises `UnicodeDecodeError`."""
        text = content.decode()
        bom = BOM if text.startswith(BOM) else ""
        text = text[len(bom) :]
        end = _only_end(text)
        if end is None:
            texts, ends = text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), _ANY_END.findall(text)
        else:
            texts = text.split(end) if end else [text]
            ends = [end] * (len(texts) - 1)
        if texts[-1]:
            ends.append("")
        else:
            texts.pop()
        return cls(Span(texts, ends), bom, end)

    def __len__(self) -> int:
        return len(self.span.texts)

    @property
    def terminated(self) -> bool:
        """Whether the last line has an end; an empty document lacks none."""
        return not self.span.ends or bool(self.span.ends[-1])

    def text(self, place: slice) -> str:
        """Return some lines exactly as they stand in the document."""
        part = self.span.part(place)
        if self.end is None or not part.texts:
            return part.join()
        return self.end.join(part.texts) + part.ends[-1]


Conversion = dict[str, str]
"""Line end in the base -> the one that replaced it wherever its line survived."""


def conversion(pairs: set[tuple[str, str]]) -> Conversion:
    """Return which line ends were turned into which, from the (base, side) ends of all surviving lines."""
    turned: dict[str, set[str]] = {}
    for before, after in pairs:
        if before and after:
            turned.setdefault(before, set()).add(after)
    return {before: after.pop() for before, after in turned.items() if len(after) == 1}


def settled(base: Span, ours: Span, theirs: Span, ours_turned: Conversion, theirs_turned: Conversion) -> Span | None:
    """Merge what at most one side wrote differently, or both alike; None if they differ, in text or in an end.

    Text comes from the side that changed it. The end of a line both kept or rewrote in place is merged on its own, so
    an edited line takes the end the other side converted it to; lines added where the other side turned all such ends
    into another follow suit.
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


def merged_end(base: str, ours: str, theirs: str) -> str | None:
    """Merge the end of one line; None if both sides changed it differently. A missing end is no opinion."""
    ours, theirs = ours or base or theirs, theirs or base or ours
    if theirs in {ours, base}:
        return ours
    return theirs if ours == base else None


def count_ends(text: str) -> int:
    """Count the line ends of a text."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def last_end(text: str) -> str:
    """Return the end of the last line, "" if it is unterminated."""
    if text.endswith("\r\n"):
        return "\r\n"
    return text[-1:] if text.endswith(("\n", "\r")) else ""


def any_end(text: str) -> str:
    """Return the last line end found anywhere in a text, "" if there is none."""
    return last_end(text[: max(text.rfind("\n"), text.rfind("\r")) + 1])


def _with_ends(own: Span, base: Span, other: Span, turned: Conversion) -> Span | None:
    if len(own.ends) != len(base.ends) or len(other.ends) != len(base.ends):
        return Span(own.texts, [turned.get(end, end) for end in own.ends])
    if base.ends == other.ends and own.ends[-1:] != [""]:
        return own
    if base.ends == own.ends and other.ends[-1:] != [""]:
        return Span(own.texts, other.ends)
    ends = [merged_end(*three) for three in zip(base.ends, own.ends, other.ends, strict=True)]
    known = [end for end in ends if end is not None]
    return Span(own.texts, known) if len(known) == len(ends) else None


def _only_end(text: str) -> str | None:
    if "\r" not in text:
        return "\n" if "\n" in text else ""
    feeds, returns = text.count("\n"), text.count("\r")
    if not feeds:
        return "\r"
    return "\r\n" if text.count("\r\n") == feeds == returns else None
