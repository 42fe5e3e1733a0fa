"""Which lines of a Markdown document are prose, and which must never be merged word by word.

Follows the block structure of CommonMark and GFM far enough to know code, tables, HTML, math, front matter and link
reference definitions, also inside lists and quotes. In doubt a line is protected.
"""

import re
from collections.abc import Sequence

_QUOTE = 0
"""A block quote on the stack of open containers; a list item is there as the width of its indent."""

_OPAQUE = frozenset({"fence", "raw", "math"})
"""Leaf blocks whose lines start no blocks; "math" is the doubtful kind, which a fence still ends."""

_SIMPLE = frozenset({"", "paragraph"})
"""Leaf blocks in which most lines can be told at a glance, outside of containers."""

_TAB = 4
_CODE_INDENT = 4
_MAX_NESTING = 16
_MAX_LENGTH = 65_536
_MAX_LINES = 65_536
_RULE_MARKS = 3
_FENCE = re.compile(r"(`{3,})[^`]*$|(~{3,})")
_MARKER = re.compile(r"(?:[-+*]|(\d{1,9})[.)])(?:( +)|$)")
_UNDERLINE = re.compile(r"(?:=+|-+) *$")
_HEADING = re.compile(r"#{1,6}(?: |$)")
_DEFINITION = re.compile(r"\[(?!\^)(?:[^\[\]\\]|\\.)*\]:\s*(\S?)")
_TITLE = ('"', "'", "(")
_DELIMITER_ROW = re.compile(r"(?=.*[|:])\|? *:?-+:?(?: *\| *:?-+:?)* *(?:\| *)?$")
_FRONT_MATTER = {"---": ("---", "..."), "+++": ("+++",)}
_RAW_HTML = (
    (
        re.compile(r"<(?:script|pre|style|textarea)(?:[\s>]|$)", re.IGNORECASE),
        re.compile(r"</(?:script|pre|style|textarea)>", re.IGNORECASE),
    ),
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<\?"), re.compile(r"\?>")),
    (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")),
    (re.compile(r"<![A-Za-z]"), re.compile(r">")),
)
_HTML_BLOCK = re.compile(
    r"</?(?:address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl"
    r"|dt|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main"
    r"|menu|menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|source|summary|table|tbody|td|tfoot|th"
    r"|thead|title|tr|track|ul)(?:\s|/?>|$)",
    re.IGNORECASE,
)
_HTML_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9-]*(?:[\s/][^<>]*)?>\s*$")
_BLANK = re.compile(r"^\s*$")
_DOLLARS = re.compile(r"\$\$")
_BRACKET = re.compile(r"\\\]|^\s*$")


def starts_front_matter(lines: Sequence[str]) -> bool:
    """Tell whether the first of these lines would open front matter at the start of a document."""
    return bool(lines) and lines[0].rstrip() in _FRONT_MATTER


def leaves_open(lines: Sequence[str]) -> bool:
    """Tell whether these lines open code, HTML or math that would take in whatever is put after them."""
    return Protection([*lines, "", "text"]).covers(slice(len(lines) + 1, len(lines) + 2))


class Protection:
    """Tells lines of prose from those whose words must not be merged, reading a document no further than asked.

    Source: CommonMark 0.31.2, sections 3 to 5; GitHub Flavored Markdown, section 4.10 (tables).
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._flags = bytearray(len(lines))
        self._containers: list[int] = []
        self._leaf = ""  # the open leaf block; "item" after an empty list marker
        self._fence = ""  # what opened the fence
        self._end = _BLANK  # what closes a raw block
        self._last_dollars = max((at for at, line in enumerate(lines) if "$$" in line), default=-1)
        self._at = self._front_matter()

    def covers(self, place: slice) -> bool:
        """Tell whether any of these lines is protected; in a document of very many lines all are."""
        if len(self._lines) > _MAX_LINES:
            return bool(place.start < place.stop)
        self._read(min(place.stop + 1, len(self._lines)))
        return 1 in self._flags[place]

    def _read(self, stop: int) -> None:
        for at in range(self._at, stop):
            line = self._lines[at]
            if self._containers or self._leaf not in _SIMPLE:
                self._line(at, line.expandtabs(_TAB))
            elif not line:
                self._leaf = ""
            elif line[0].isalpha() and "|" not in line and "$$" not in line:
                self._leaf = "paragraph"
            else:
                self._line(at, line.expandtabs(_TAB))
        self._at = max(self._at, stop)

    def _front_matter(self) -> int:
        closers = _FRONT_MATTER.get(self._lines[0].rstrip()) if self._lines else None
        for at in range(1, len(self._lines)) if closers else ():
            if closers and self._lines[at].rstrip() in closers:
                self._flags[: at + 1] = b"\1" * (at + 1)
                return at + 1
        return 0

    def _line(self, at: int, line: str) -> None:
        if len(line) > _MAX_LENGTH:
            self._flags[at] = 1
            return
        matched, rest = self._inside(line)
        if matched < len(self._containers) and self._leaf in _OPAQUE:
            self._leaf = ""
        if self._leaf in _OPAQUE and not (self._leaf == "math" and _FENCE.match(rest.lstrip(" "))):
            self._flags[at] = 1
            if self._closes(rest):
                self._leaf = ""
            return
        if not rest.strip(" "):
            del self._containers[max(matched - (self._leaf == "item"), 0) :]
            self._leaf = ""
            return
        rest = self._open_containers(matched, rest)
        self._flags[at] = len(self._containers) == _MAX_NESTING
        if text := rest.lstrip(" "):
            self._leaf_block(at, text, len(rest) - len(text))

    def _inside(self, line: str) -> tuple[int, str]:
        """Strip the prefixes of the open containers; return how many were there, and what follows."""
        for matched, width in enumerate(self._containers):
            text = line.lstrip(" ")
            indent = len(line) - len(text)
            if width == _QUOTE:
                if indent >= _CODE_INDENT or not text.startswith(">"):
                    return matched, line
                line = text[2:] if text[1:2] == " " else text[1:]
            elif text:
                if indent < width:
                    return matched, line
                line = line[width:]
        return len(self._containers), line

    def _open_containers(self, matched: int, rest: str) -> str:
        """Close the containers a line leaves, open those it starts; return what follows them.

        A paragraph goes on lazily without the prefixes of its containers, so they stay open for it.
        """
        lazy = self._leaf == "paragraph" and matched < len(self._containers)
        if not lazy:
            del self._containers[matched:]
        while (opened := self._container(rest, lazy=lazy)) and len(self._containers) < _MAX_NESTING:
            if lazy:
                del self._containers[matched:]
            width, rest = opened
            lazy, self._leaf = False, "" if rest or width == _QUOTE else "item"
            self._containers.append(width)
        if lazy and self._ends_paragraph(rest):
            del self._containers[matched:]
            self._leaf = ""
        return rest

    def _container(self, rest: str, *, lazy: bool) -> tuple[int, str] | None:
        text = rest.lstrip(" ")
        indent = len(rest) - len(text)
        if indent >= _CODE_INDENT:
            return None
        if text.startswith(">"):
            return _QUOTE, text[2:] if text[1:2] == " " else text[1:]
        marker = _MARKER.match(text)
        continues = self._leaf == "paragraph" and not lazy
        if not marker or _is_rule(text) or (continues and _DELIMITER_ROW.match(text)):
            return None
        inside = text[marker.end() :]
        if continues and (not inside or marker[1] not in {None, "1"}):
            return None
        spaces = len(marker[2] or "")
        size = marker.end() - spaces + (spaces if inside and spaces <= _CODE_INDENT else 1)
        return indent + size, text[size:]

    def _ends_paragraph(self, rest: str) -> bool:
        text = rest.lstrip(" ")
        return len(rest) - len(text) < _CODE_INDENT and bool(
            _FENCE.match(text) or _HEADING.match(text) or _is_rule(text) or _raw_end(text, interrupts=True)
        )

    def _leaf_block(self, at: int, text: str, indent: int) -> None:
        """Classify a line inside its containers; the order is that of CommonMark's block starts."""
        if indent >= _CODE_INDENT:
            self._flags[at] |= self._leaf != "paragraph"
        elif fence := _FENCE.match(text):
            self._flags[at], self._leaf = 1, "fence"
            self._fence = fence[1] or fence[2]
        elif end := _raw_end(text, interrupts=self._leaf == "paragraph"):
            self._raw(at, text, end)
        elif "$$" in text:
            self._dollars(at, text)
        elif self._leaf == "paragraph" and _DELIMITER_ROW.match(text):
            self._flags[at - 1 : at + 1] = b"\1\1"
            self._leaf = "table"
        elif _HEADING.match(text) or _is_rule(text) or (self._leaf == "paragraph" and _UNDERLINE.match(text)):
            self._leaf = ""
        else:
            self._text(at, text)

    def _text(self, at: int, text: str) -> None:
        if self._leaf == "table" or text.startswith("|"):
            self._flags[at], self._leaf = 1, "table"
        elif self._leaf == "definition" and text.startswith(_TITLE):
            self._raw(at, text, _BLANK)
        elif definition := _DEFINITION.match(text):
            self._flags[at], self._leaf = 1, "definition"
            if not definition[1]:
                self._raw(at, text, _BLANK)
        else:
            self._leaf = "paragraph"

    def _raw(self, at: int, text: str, end: re.Pattern[str]) -> None:
        self._flags[at], self._end = 1, end
        self._leaf = "" if end.search(text) else "math" if end is _BRACKET else "raw"

    def _dollars(self, at: int, text: str) -> None:
        self._flags[at] = 1
        if text.count("$$") % 2 == 0:
            self._leaf = "" if text.startswith("$$") else "paragraph"
        elif at < self._last_dollars:
            self._leaf, self._end = "raw", _DOLLARS
        else:
            self._leaf, self._end = "math", _BLANK

    def _closes(self, rest: str) -> bool:
        if self._leaf != "fence":
            return bool(self._end.search(rest))
        text = rest.lstrip(" ")
        closer = text.rstrip(" ")
        return (
            len(rest) - len(text) < _CODE_INDENT
            and closer.startswith(self._fence)
            and closer == closer[0] * len(closer)
        )


def _is_rule(text: str) -> bool:
    if text[:1] not in {"*", "-", "_"}:
        return False
    marks = text.replace(" ", "")
    return len(marks) >= _RULE_MARKS and marks == marks[0] * len(marks)


def _raw_end(text: str, *, interrupts: bool) -> re.Pattern[str] | None:
    """Return what ends the HTML or display math block a line starts, if it starts one."""
    if text[0] == "\\":
        return _BRACKET if text.startswith("\\[") else None
    if text[0] != "<":
        return None
    for start, end in _RAW_HTML:
        if start.match(text):
            return end
    if _HTML_BLOCK.match(text) or (not interrupts and _HTML_TAG.match(text)):
        return _BLANK
    return None
