"""Texts as numbered pages with token counts, within the limits of what is kept of a file.

A text without pages is cut in sections, so that what is cited of a long one can be found: at a Markdown heading, else
at a blank line, else at a line end, and only within a line that is longer than a section.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from .facts import MAX_CHARACTERS, Page
from .tokens import count_tokens

SECTION_CHARACTERS: Final = 8_000
"""Longest section: some pages of print, about 2,000 tokens of English."""
_LEAST_FILLED: Final = SECTION_CHARACTERS // 4
"""A better place to cut is taken only if the section does not become shorter than this."""
_CUTS: Final = (re.compile(r"\n(?=#{1,6} )"), re.compile(r"\n[ \t]*\n"), re.compile(r"\n"), re.compile(r"\s"))


@dataclass(frozen=True, slots=True)
class Collected:
    """Pages, the sum of their tokens, and whether text was left out."""

    pages: list[Page]
    tokens: int
    cut: bool


def collect(texts: Iterable[str]) -> Collected:
    """Number the texts from 1 and count tokens, until `MAX_CHARACTERS` are kept; blank pages only keep their number."""
    pages, room, cut = [], MAX_CHARACTERS, False
    for number, text in enumerate(texts, 1):
        kept = text[:room].strip("\n")
        if kept.strip():
            pages.append(Page(number, kept, count_tokens(kept)))
        room -= len(text)
        if room < 0:
            cut = True
            break
    return Collected(pages, sum(page.tokens for page in pages), cut)


def sections(text: str) -> Iterator[str]:
    """The text in pieces of at most `SECTION_CHARACTERS`; joined they are the text."""
    start = 0
    while len(text) - start > SECTION_CHARACTERS:
        end = _cut(text, start)
        yield text[start:end]
        start = end
    yield text[start:]


def _cut(text: str, start: int) -> int:
    for place in _CUTS:
        ends = [match.end() for match in place.finditer(text, start + _LEAST_FILLED, start + SECTION_CHARACTERS)]
        if ends:
            return ends[-1]
    return start + SECTION_CHARACTERS
