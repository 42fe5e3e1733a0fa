"""Markdown-it's tokens to blocks of the document; what the schema cannot say is refused, never dropped.

An image between words is such a thing: TipTap's images are blocks, and splitting the paragraph would change it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from markdown_it.common.utils import normalizeReference, unescapeAll
from markdown_it.token import Token

from collab.domain.markdown.nodes import BREAK, RAW, Mark, Marks, Node, raw
from collab.domain.markdown.syntax import MAX_DEPTH, alone

SEPARATOR = "<!-- -->"
EMPTY, NOT_EMPTY = "&nbsp;", "&#160;"

_TASK = re.compile(r"\[([ xX])\](?:[ \t]+|$)")
_PAD = re.compile(r"[ \t>]*(?:[-+*]|\d{1,9}[.)])( {1,4})(?=\S)")
_BR = re.compile(r"<br\s*/?>", re.IGNORECASE)
_PIPE = re.compile(r"(?<!\\)\|")
_OUTER_PIPES = re.compile(r"^\||(?<!\\)\|$")
_MARKS = {"strong": "bold", "em": "italic", "s": "strike", "mark": "highlight"}
_LABEL = re.compile(r"\[((?:[^\[\]\\]|\\.)+)\]", re.DOTALL)
_HARD_BREAK = re.compile(r"\\\n|  \n")
_ALIGN = re.compile(r"text-align:\s*(\w+)")


class UnsayableError(Exception):
    """Markdown for which the schema has no words."""


class Reader:
    """Reads the tokens of one top-level block; `lines` are those of the whole source, for how things were written."""

    def __init__(self, tokens: Sequence[Token], lines: Sequence[str]) -> None:
        self._tokens = tokens
        self._lines = lines
        self._at = 0

    def block(self, depth: int = 0) -> Node | None:
        """The next block, None for a mere separator.

        Raises:
            UnsayableError: the schema cannot say it.
        """
        if depth > MAX_DEPTH:
            raise UnsayableError("nested too deep")
        token = self._next()
        read = self._KINDS.get(token.type)
        if read is None:
            raise UnsayableError(token.type)
        return read(self, token, depth)

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _children(self, close: str, depth: int) -> list[Node]:
        nodes = []
        while self._tokens[self._at].type != close:
            if node := self.block(depth + 1):
                nodes.append(node)
        self._at += 1
        return nodes

    def _paragraph(self, token: Token, depth: int) -> Node:
        content = self._next()
        self._at += 1
        if content.content == EMPTY:
            return Node("paragraph")
        children = content.children or []
        if len(children) == 1 and children[0].type == "image":
            return _image(children[0], content.content)
        try:
            return Node("paragraph", content=_with_text(inline(children, content.content)))
        except UnsayableError:
            # Lines that lazily go on with a paragraph may be something else by themselves.
            if depth == 0 or alone(content.content) != token.type:
                raise
            block = raw(content.content)
            block.style["paragraph"] = True
            return block

    def _heading(self, token: Token, depth: int) -> Node:
        content = self._next()
        self._at += 1
        style = {"setext": True} if token.markup in {"=", "-"} else {}
        nodes = inline(content.children or [], content.content)
        return Node("heading", {"level": int(token.tag[1])}, nodes, style=style)

    def _quote(self, token: Token, depth: int) -> Node:
        return Node("blockquote", content=self._children("blockquote_close", depth) or [Node("paragraph")])

    def _fence(self, token: Token, depth: int) -> Node:
        language = unescapeAll(token.info).strip() or None
        if language == RAW:
            if depth == 0:
                raise UnsayableError(RAW)
            return raw(f"{token.markup}{token.info}\n{token.content}{token.markup}")
        text = token.content if not token.content.strip("\n") else token.content.removesuffix("\n")
        return Node(
            "codeBlock",
            {"language": language},
            [Node("text", text=text)] if text else [],
            style={"fence": token.markup},
        )

    def _html(self, token: Token, depth: int) -> Node | None:
        if token.content.strip() == SEPARATOR:
            return None
        return self._verbatim(token, depth)

    def _verbatim(self, token: Token, depth: int) -> Node:
        if depth == 0 or alone(token.content) != token.type:
            raise UnsayableError(token.type)
        return raw(token.content.removesuffix("\n"))

    def _rule(self, token: Token, depth: int) -> Node:
        return Node("horizontalRule", style={"rule": token.markup[0] * 3})

    def _list(self, token: Token, depth: int) -> Node:
        ordered = token.type == "ordered_list_open"
        first = self._at
        close = token.type.replace("_open", "_close")
        items = self._children(close, depth)
        shown = [
            t.hidden
            for t in self._tokens[first : self._at]
            if t.type == "paragraph_open" and t.level == token.level + 2
        ]
        style: dict[str, Any] = {"marker": token.markup, "tight": all(shown)}
        style |= self._padding(token, self._tokens[first - 2] if first > 1 else token)
        if ordered:
            numbers = [item.style.pop("number") for item in items]
            style["step"] = 0 if len(numbers) > 1 and len(set(numbers)) == 1 else 1
            return Node("orderedList", {"start": numbers[0], "type": None}, items, style=style)
        if all(_TASK.match(_opening(item)) for item in items):
            return Node("taskList", content=[_task(item) for item in items], style=style)
        return Node("bulletList", content=items, style=style)

    def _padding(self, token: Token, outer: Token) -> dict[str, int]:
        """How wide the space behind the marker is, unless the marker shares its line with that of an outer item."""
        if token.map is None or (outer.type == "list_item_open" and outer.map and outer.map[0] == token.map[0]):
            return {}
        pad = _PAD.match(self._lines[token.map[0]])
        return {"pad": len(pad[1])} if pad else {}

    def _item(self, token: Token, depth: int) -> Node:
        content = self._children("list_item_close", depth)
        if not content or content[0].type != "paragraph":
            content.insert(0, Node("paragraph"))
        return Node("listItem", content=content, style={"number": int(token.info)} if token.info else {})

    def _table(self, token: Token, depth: int) -> Node:
        rows: list[Node] = []
        while (part := self._next()).type != "table_close":
            if part.type == "tr_open":
                rows.append(self._row())
                # Renderers drop cells beyond the header's; we would lose them.
                if len(rows) > 1 and part.map and _cells(self._lines[part.map[0]]) > len(rows[0].content):
                    raise UnsayableError("cells beyond the header")
        return Node("table", content=rows)

    def _row(self) -> Node:
        cells: list[Node] = []
        while (token := self._next()).type != "tr_close":
            if token.type in {"th_open", "td_open"}:
                align = _ALIGN.match(str(token.attrs.get("style", "")))
                content = self._next()
                children = content.children or []
                self._at += 1
                image = len(children) == 1 and children[0].type == "image"
                inner = (
                    _image(children[0], content.content)
                    if image
                    else Node("paragraph", content=inline(children, content.content))
                )
                kind = "tableHeader" if token.type == "th_open" else "tableCell"
                cells.append(Node(kind, {"align": align[1] if align else None}, [inner]))
        return Node("tableRow", content=cells)

    _KINDS: ClassVar[dict[str, Callable[[Reader, Token, int], Node | None]]] = {
        "paragraph_open": _paragraph,
        "heading_open": _heading,
        "blockquote_open": _quote,
        "bullet_list_open": _list,
        "ordered_list_open": _list,
        "list_item_open": _item,
        "fence": _fence,
        "code_block": _fence,
        "hr": _rule,
        "html_block": _html,
        "opaque": _verbatim,
        "table_open": _table,
    }


def _cells(line: str) -> int:
    return len(_PIPE.split(_OUTER_PIPES.sub("", line.strip(" \t\r\n>"))))


def _opening(item: Node) -> str:
    """The literal text an item begins with, up to the first escape or entity."""
    text = item.content[0].content[0] if item.content[0].content else None
    return "" if text is None or text.type != "text" or text.marks else text.text[: min(text.spelling, default=None)]


def _task(item: Node) -> Node:
    paragraph = item.content[0]
    first = paragraph.content[0]
    match = _TASK.match(_opening(item))
    assert match  # noqa: S101 - the caller has looked
    cut = match.end()
    first.text = first.text[cut:]
    first.spelling = {at - cut: how for at, how in first.spelling.items() if at >= cut}
    if not first.text:
        paragraph.content.pop(0)
    return Node("taskItem", {"checked": match[1] != " "}, item.content, style=item.style)


def _labels(source: str) -> dict[str, str]:
    """The labels in a text as it spells them, by what markdown-it makes of them: it folds their case."""
    return {normalizeReference(label): label for label in reversed(_LABEL.findall(source))}


def _image(token: Token, source: str) -> Node:
    title = token.attrs.get("title") or None
    alt = "".join("\n" if child.type.endswith("break") else child.content for child in token.children or [])
    label = _labels(source).get(token.meta.get("label", ""))
    style = {"label": label} if label else {}
    return Node("image", {"src": token.attrs["src"], "alt": alt or None, "title": title}, style=style)


def _with_text(nodes: list[Node]) -> list[Node]:
    """The content of a paragraph; a line break alone would be an HTML block when written."""
    if nodes and not any(node.text for node in nodes):
        raise UnsayableError("line breaks without text")
    return nodes


def inline(tokens: Sequence[Token], source: str) -> list[Node]:
    """The content of a paragraph or heading, read from `source`.

    Raises:
        UnsayableError: it holds more than text, marks and line breaks.
    """
    reader = _Inline(source)
    for token in tokens:
        reader.read(token)
    if reader.open:
        raise UnsayableError("open tag")
    return reader.nodes


class _Inline:
    """Collects runs of text under the marks that are open, outermost first."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._labels: dict[str, str] = {}
        self._breaks = _HARD_BREAK.findall(source)
        self.nodes: list[Node] = []
        self.open: list[Mark] = []

    def read(self, token: Token) -> None:
        kind = token.type
        if kind == "text":
            self._text(token.content)
        elif kind == "text_special":
            self._text(token.content, token.markup)
        elif kind == "softbreak":
            self._text(" ", "\n")
        elif kind == "hardbreak":
            self.nodes.append(Node(BREAK, style={"break": self._breaks.pop(0)} if self._breaks else {}))
        elif kind == "code_inline":
            self._text(token.content, marks=(*self.open, Mark("code")))
        elif kind == "html_inline":
            self._tag(token.content)
        else:
            self._mark(token)

    def _text(self, text: str, spelt: str | None = None, marks: Marks | None = None) -> None:
        if not text:
            return
        marks = tuple(self.open) if marks is None else marks
        last = self.nodes[-1] if self.nodes else None
        if last is None or last.type != "text" or last.marks != marks:
            last = Node("text", marks=marks)
            self.nodes.append(last)
        if spelt is not None:
            last.spelling[len(last.text)] = spelt
            last.spelling.update((len(last.text) + i, "") for i in range(1, len(text)))
        last.text += text

    def _tag(self, tag: str) -> None:
        if _BR.fullmatch(tag):
            self.nodes.append(Node(BREAK, style={"break": tag}))
        elif tag.lower() == "<u>":
            self._enter(Mark("underline"))
        elif tag.lower() == "</u>":
            self._leave("underline")
        else:
            raise UnsayableError(tag)

    def _mark(self, token: Token) -> None:
        name, _, side = token.type.rpartition("_")
        if name == "link" and side == "open":
            title = token.attrs.get("title")
            attrs = (("href", token.attrs["href"]), *((("title", title),) if title else ()))
            hint = "<" if token.markup == "autolink" else self._label(token)
            self._enter(Mark("link", attrs, hint))
        elif name == "link":
            if not any(self.open[-1] in node.marks for node in self.nodes):
                raise UnsayableError("a link without text")
            self._leave("link")
        elif name not in _MARKS:
            raise UnsayableError(token.type)
        elif side == "open":
            self._enter(Mark(_MARKS[name], (), token.markup))
        else:
            self._leave(_MARKS[name])

    def _label(self, token: Token) -> str:
        if "label" not in token.meta:
            return ""
        self._labels = self._labels or _labels(self._source)
        return self._labels.get(token.meta["label"], "")

    def _enter(self, mark: Mark) -> None:
        if any(mark.name == other.name for other in self.open):
            raise UnsayableError(f"{mark.name} inside itself")
        self.open.append(mark)

    def _leave(self, name: str) -> None:
        if not self.open or self.open[-1].name != name:
            raise UnsayableError(f"{name} ends out of turn")
        self.open.pop()
