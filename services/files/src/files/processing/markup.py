"""Text of HTML files: what a reader sees, with block structure as lines and links with their targets."""

import re
from html.parser import HTMLParser
from typing import BinaryIO, Final

from .facts import Facts
from .text import MAX_BYTES, clean, decode, of_text

_UNSEEN: Final = frozenset({"script", "style", "template", "noscript", "svg", "math", "object", "iframe", "canvas"})
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_BLOCKS: Final = frozenset(
    {"address", "article", "aside", "blockquote", "body", "dd", "details", "dialog", "div", "dl", "dt", "fieldset"}
    | {"figcaption", "figure", "footer", "form", "head", "header", "hr", "html", "li", "main", "nav", "ol", "p", "pre"}
    | {"section", "summary", "table", "title", "tr", "ul", *_HEADINGS}
)
_APART: Final = frozenset({"p", "table", "ul", "ol", "pre", "blockquote", "title", *_HEADINGS})
"""Blocks with a blank line around them."""
_CELLS: Final = frozenset({"td", "th"})
_TARGET: Final = re.compile(r"(https?://|mailto:)\S+", re.IGNORECASE)
_LINK_PIECES: Final = 4
"""Of a link's text looked at to see whether it is its target."""
_CHARSET: Final = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w-]{2,30})", re.IGNORECASE)
_CHARSET_BYTES: Final = 1024
"""A charset is stated within so many bytes (HTML standard, 4.2.5.4)."""
_SPACE: Final = re.compile(r"[ \t\n\f]+")


def html_facts(file: BinaryIO, media_type: str) -> Facts:
    """The readable text in sections."""
    data = file.read(MAX_BYTES + 1)
    stated = _CHARSET.search(data[:_CHARSET_BYTES])
    source = decode(data[:MAX_BYTES], stated[1].decode() if stated else None)
    return of_text(media_type, readable(clean(source)), cut=len(data) > MAX_BYTES)


def readable(source: str) -> str:
    """Text of HTML source; malformed source is read as far as it makes sense."""
    reader = _Reader()
    reader.feed(source)
    reader.close()
    return reader.text()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._unseen: list[str] = []
        self._preformatted = 0
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._unseen:
            if tag == self._unseen[-1]:
                self._unseen.append(tag)
            return
        if tag in _UNSEEN:
            self._unseen.append(tag)
        elif tag == "a":
            self._links.append((dict(attrs).get("href") or "", len(self._out)))
        else:
            self._open(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _UNSEEN:
            self.handle_starttag(tag, attrs)

    def _open(self, tag: str) -> None:
        if tag == "br":
            self._out.append("\n")
        elif tag in _BLOCKS:
            self._line(blank=tag in _APART)
        if tag in _HEADINGS:
            self._out.append("#" * _HEADINGS[tag] + " ")
        elif tag == "li":
            self._out.append("- ")
        elif tag == "pre":
            self._preformatted += 1
        elif tag in _CELLS and self._out and self._out[-1][-1] not in "\n\t":
            self._out.append("\t")  # the cell before may have no end tag

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            if tag == self._unseen[-1]:
                self._unseen.pop()
        elif tag == "a":
            self._close_link()
        elif tag in _CELLS:
            self._out.append("\t")
        elif tag in _BLOCKS:
            self._line(blank=tag in _APART)
            self._preformatted -= tag == "pre" and self._preformatted > 0

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        if self._preformatted:
            self._out.append(data)
            return
        text = _SPACE.sub(" ", data)
        if not self._out or self._out[-1][-1] in " \n\t":
            text = text.lstrip(" ")
        if text:
            self._out.append(text)

    def _close_link(self) -> None:
        if not self._links:
            return
        target, start = self._links.pop()
        if _TARGET.fullmatch(target) and "".join(self._out[start : start + _LINK_PIECES]).strip() != target:
            self._out.append(f" ({target})")

    def _line(self, *, blank: bool) -> None:
        while self._out and not self._preformatted and self._out[-1] in {" ", "\t"}:
            self._out.pop()
        if self._out and self._out[-1] != "\n\n" and (blank or self._out[-1][-1] != "\n"):
            self._out.append("\n\n" if blank else "\n")

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """As HTML has it, a bogus comment; the inherited one raises `AssertionError` for what it does not know."""
        return self.parse_bogus_comment(i, report)

    def text(self) -> str:
        """All that was read."""
        lines = (line.rstrip() for line in "".join(self._out).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
