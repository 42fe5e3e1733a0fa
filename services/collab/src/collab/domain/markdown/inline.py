"""Writes the content of paragraphs, headings and table cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, normalizeReference

from collab.domain.markdown import escape
from collab.domain.markdown.nodes import BREAK, Mark, Node

_DELIMITERS = {"bold": "**", "italic": "*", "strike": "~~", "highlight": "=="}
_TAGS = {"underline": ("<u>", "</u>")}
_WRITTEN = frozenset({*_DELIMITERS, *_TAGS, "link"})
_FENCE = re.compile(r"`+")
_AUTO = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{1,31}:[^<>\x00-\x20]*")
_SAFE_HREF = re.compile(r"[^\s<>()\\&*_\[\]\x00-\x1f]+")


@dataclass(frozen=True, slots=True)
class Context:
    """How to write: everything escaped (`full`), the known link references, whether on one line, whether in a cell."""

    references: Mapping[str, Any] = field(default_factory=dict)
    full: bool = False
    one_line: bool = False
    cell: bool = False


@dataclass(slots=True)
class _Piece:
    """A bit of output; `side` is 1 where a delimiter run opens, -1 where it closes."""

    text: str
    side: int = 0
    mark: Mark | None = None
    literal: bool = False


def write(content: Sequence[Node], context: Context) -> str:
    """The inline content as Markdown."""
    pieces = _Writer(content, context).pieces()
    _edges(pieces)
    _flank(pieces, context)
    return "".join(piece.text for piece in pieces)


class _Writer:
    """Turns runs of marked text to pieces, nesting the longest marks outermost."""

    def __init__(self, content: Sequence[Node], context: Context) -> None:
        self._content = _joined(content)
        self._context = context
        self._open: list[Mark] = []
        self._starts: list[int] = []
        self._pieces: list[_Piece] = []

    def pieces(self) -> list[_Piece]:
        """All pieces in order."""
        for at, node in enumerate(self._content):
            if node.type == BREAK:
                self._break(at, node)
            else:
                self._enter(at, [mark for mark in node.marks if mark.name in _WRITTEN])
                self._text(node)
        self._close_to(0)
        return self._pieces

    def _enter(self, at: int, marks: Sequence[Mark]) -> None:
        wanted = {(mark.name, mark.attrs) for mark in marks}
        keep = 0
        while keep < len(self._open) and (self._open[keep].name, self._open[keep].attrs) in wanted:
            keep += 1
        self._close_to(keep)
        already = {mark.name for mark in self._open}
        new = [mark for mark in marks if mark.name not in already]
        for mark in sorted(new, key=lambda mark: -self._extent(at, mark)):
            self._open.append(mark)
            if mark.name == "link":
                self._no_image()
            self._starts.append(len(self._pieces))
            self._pieces.append(_Piece(self._opener(mark), int(mark.name in _DELIMITERS), mark))

    def _no_image(self) -> None:
        """An exclamation mark before a link would make it an image."""
        last = self._pieces[-1] if self._pieces else None
        if last and not last.literal and last.text.endswith("!") and not last.text.endswith("\\!"):
            last.text = last.text[:-1] + "\\!"

    def _extent(self, at: int, mark: Mark) -> int:
        """How many pieces in a row carry the mark."""
        count = 0
        for node in self._content[at:]:
            if node.type != BREAK and not any(m[:2] == mark[:2] for m in node.marks):
                break
            count += node.type != BREAK
        return count

    def _close_to(self, depth: int) -> None:
        while len(self._open) > depth:
            mark, start = self._open.pop(), self._starts.pop()
            self._pieces.append(_Piece(self._closer(mark, start), -int(mark.name in _DELIMITERS), mark))

    def _opener(self, mark: Mark) -> str:
        if mark.name in _TAGS:
            return _TAGS[mark.name][0]
        if mark.name == "link":
            return "["
        return _delimiter(mark, self._context)

    def _closer(self, mark: Mark, start: int) -> str:
        if mark.name in _TAGS:
            return _TAGS[mark.name][1]
        if mark.name == "link":
            return self._target(mark, start)
        return _delimiter(mark, self._context)

    def _target(self, mark: Mark, start: int) -> str:
        attrs = dict(mark.attrs)
        href, title = str(attrs.get("href") or ""), attrs.get("title")
        label = reference(mark.hint, href, title, self._context.references)
        if label and not self._context.full and label == "".join(piece.text for piece in self._pieces[start:]) + "]":
            return "]"
        return "]" + (label or target(href, title))

    def _break(self, at: int, node: Node) -> None:
        """A line break; marks that go on behind it stay open."""
        rest = self._content[at + 1 :]
        following = next((other.marks for other in rest if other.type != BREAK), ())
        keep = 0
        while keep < len(self._open) and any(self._open[keep][:2] == mark[:2] for mark in following):
            keep += 1
        self._close_to(keep)
        style = str(node.style.get("break", "  \n"))
        if not rest or self._context.one_line:
            style = style if style.startswith("<") else "<br>"
        elif style == "  \n" and (not self._pieces or self._pieces[-1].text[-1:].isspace()):
            style = "\\\n"
        self._pieces.append(_Piece(style, literal=True))

    def _text(self, node: Node) -> None:
        if any(mark.name == "code" for mark in node.marks):
            self._pieces.append(_Piece(code(node.text), literal=True))
            return
        auto = next((mark for mark in self._open if mark.name == "link" and mark.hint == "<"), None)
        if auto and self._pieces[-1].mark is auto and _autolink(node.text, auto):
            self._pieces.pop()
            self._open.remove(auto)
            self._pieces.append(_Piece(f"<{node.text}>", literal=True))
            return
        in_link = any(mark.name == "link" for mark in self._open)
        for value, spelt in _spelt(node, self._context):
            written = (
                spelt
                if spelt is not None
                else escape.text(value, full=self._context.full, in_link=in_link, references=self._context.references)
            )
            self._pieces.append(_Piece(written, literal=spelt is not None))


def _joined(content: Sequence[Node]) -> list[Node]:
    """Neighbouring texts of the same marks as one; line ends inside a text are spaces."""
    out: list[Node] = []
    for node in content:
        if node.type != "text":
            out.append(node if node.type == BREAK else Node("text", text=node.plain()))
            continue
        text = node.text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ")
        if out and out[-1].type == "text" and [m[:2] for m in out[-1].marks] == [m[:2] for m in node.marks]:
            last = out[-1]
            shifted = {at + len(last.text): how for at, how in node.spelling.items()}
            out[-1] = Node("text", text=last.text + text, marks=last.marks, spelling=last.spelling | shifted)
        elif text:
            out.append(Node("text", text=text, marks=node.marks, spelling=node.spelling))
    return out


def _delimiter(mark: Mark, context: Context) -> str:
    if context.full:
        return "_" if mark.name == "italic" else _DELIMITERS[mark.name]
    return mark.hint if mark.hint and mark.hint[0] in "*_" else _DELIMITERS[mark.name]


def _spelt(node: Node, context: Context) -> list[tuple[str, str | None]]:
    """The text in parts, each with the source's spelling where that is to be kept."""
    if context.full or not node.spelling:
        return [(node.text, None)]
    parts: list[tuple[str, str | None]] = []
    end = 0
    for at in sorted(node.spelling):
        spelt = node.spelling[at]
        if at >= len(node.text) or (spelt == "\n" and (context.one_line or not _between_words(node.text, at))):
            continue
        if at > end:
            parts.append((node.text[end:at], None))
        parts.append((node.text[at], spelt))
        end = at + 1
    return [*parts, (node.text[end:], None)] if end < len(node.text) else parts


def _between_words(text: str, at: int) -> bool:
    """Whether a line may end here: the reader trims white space around it."""
    return not text[at - 1 : at].isspace() and not text[at + 1 : at + 2].isspace()


def code(text: str) -> str:
    """A code span."""
    taken = {len(run) for run in _FENCE.findall(text)}
    ticks = "`" * next(n for n in range(1, len(taken) + 2) if n not in taken)
    pad = " " if text[:1] == "`" or text[-1:] == "`" or (text[:1] == text[-1:] == " " and text.strip(" ")) else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def reference(label: str, href: str, title: Any, references: Mapping[str, Any]) -> str | None:
    """A link's or image's label in square brackets, if it still stands for this address."""
    known = references.get(normalizeReference(label)) if label else None
    return f"[{label}]" if known and (known["href"], known["title"] or None) == (href, title or None) else None


def target(href: str, title: Any = None) -> str:
    """A link's or image's address with its title, in round brackets."""
    written = href if _SAFE_HREF.fullmatch(href) else _angled(href)
    if title:
        quoted = re.sub(r'[\\"&]', r"\\\g<0>", str(title)).replace("\n\n", "\n&#10;")
        return f'({written or "<>"} "{quoted}")'
    return f"({written})"


def _angled(href: str) -> str:
    if not href:
        return ""
    escaped = re.sub(r"[\\<>&]", r"\\\g<0>", href)
    return "<" + re.sub(r"[\n\r]", lambda m: escape.entity(m[0]), escaped) + ">"


def _autolink(text: str, mark: Mark) -> bool:
    href = dict(mark.attrs).get("href")
    return (text == href and _AUTO.fullmatch(text) is not None) or (f"mailto:{text}" == href and "@" in text)


def _edges(pieces: list[_Piece]) -> None:
    """White space at the ends of lines would be trimmed: write it as entities."""
    fresh = True
    for at, piece in enumerate(pieces):
        if piece.text and not piece.literal and piece.mark is None:
            if fresh and piece.text[0] in escape.TRIMMED:
                piece.text = escape.entity(piece.text[0]) + piece.text[1:]
            if _line_ends(pieces[at + 1 :]) and piece.text[-1] in escape.TRIMMED:
                piece.text = piece.text[:-1] + escape.entity(piece.text[-1])
        if piece.text:
            fresh = piece.text.endswith("\n")


def _line_ends(rest: Sequence[_Piece]) -> bool:
    following = next((piece.text for piece in rest if piece.text), "\n")
    return following.endswith("\n") and not following.strip(" \\\n")


def _flank(pieces: list[_Piece], context: Context) -> None:
    """Make each emphasis delimiter open or close where it stands, by entities next to it where need be."""
    for at, piece in enumerate(pieces):
        if piece.side and not context.full and piece.text == _touching(pieces, at, piece):
            _other_char(pieces, piece)
    for _ in range(3):
        for at, piece in enumerate(pieces):
            if piece.side:
                _repair(pieces, at, context)


def _touching(pieces: Sequence[_Piece], at: int, piece: _Piece) -> str:
    """The delimiter itself when an opening one directly follows a closing one of the same character."""
    before = pieces[at - 1] if at else None
    touches = piece.side == 1 and before is not None and before.side == -1 and before.text[-1] == piece.text[0]
    return piece.text if touches else ""


def _other_char(pieces: Sequence[_Piece], opener: _Piece) -> None:
    if opener.text[0] not in "*_":
        return
    other = {"*": "_", "_": "*"}[opener.text[0]] * len(opener.text)
    start = next(at for at, piece in enumerate(pieces) if piece is opener)
    for piece in pieces[start:]:
        if piece.mark is opener.mark:
            piece.text = other
            if piece.side == -1:
                return


def _repair(pieces: list[_Piece], at: int, context: Context) -> None:
    piece = pieces[at]
    left, right = _neighbour(pieces, at, -1), _neighbour(pieces, at, 1)
    inner, outer, side = (right, left, 1) if piece.side == 1 else (left, right, -1)
    inner_char, outer_char = _char(pieces, inner, side), _char(pieces, outer, -side)
    if inner_char.isspace():
        _encode(pieces, inner, side)
        inner_char = "&"
    tight = context.full or piece.text[0] == "_" or _punctuation(inner_char)
    if tight and outer_char and not outer_char.isspace() and not _punctuation(outer_char):
        _encode(pieces, outer, -side)


def _neighbour(pieces: Sequence[_Piece], at: int, step: int) -> int | None:
    """The next piece that is not of the same run of delimiters."""
    own = pieces[at].text[0]
    at += step
    while 0 <= at < len(pieces) and (not pieces[at].text or (pieces[at].side and pieces[at].text[0] == own)):
        at += step
    return at if 0 <= at < len(pieces) else None


def _char(pieces: Sequence[_Piece], at: int | None, side: int) -> str:
    return "" if at is None else pieces[at].text[0 if side == 1 else -1]


def _punctuation(char: str) -> bool:
    return bool(char) and (isMdAsciiPunct(ord(char)) or isPunctChar(char))


def _encode(pieces: list[_Piece], at: int | None, side: int) -> None:
    if at is None or pieces[at].literal or pieces[at].mark:
        return
    text = pieces[at].text
    pieces[at].text = escape.entity(text[0]) + text[1:] if side == 1 else text[:-1] + escape.entity(text[-1])
