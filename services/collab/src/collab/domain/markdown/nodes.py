"""One document tree: ProseMirror's nodes, what identifies them, and how the source spelt them."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

RAW = "raw-md"
BREAK = "hardBreak"
LISTS = frozenset({"bulletList", "orderedList", "taskList"})
LINK_DEFAULTS = {"target": "_blank", "rel": "noopener noreferrer nofollow", "class": None, "title": None}

_HUGE = 1e9
_LINE_BREAKS = re.compile(r"\r\n|\r|\n")
type_ = type


class Mark(NamedTuple):
    """A mark on a run of text; `hint` is how the source wrote it and no part of its identity."""

    name: str
    attrs: tuple[tuple[str, Any], ...] = ()
    hint: str = ""


Marks = tuple[Mark, ...]


@dataclass(slots=True)
class Node:
    """A node of the document; `style` and `spelling` remember the source and are no part of its identity.

    `spelling` maps offsets of a text to the source of that character: an escape, an entity, a line break.
    """

    type: str
    attrs: dict[str, Any] = field(default_factory=dict)
    content: list[Node] = field(default_factory=list)
    text: str = ""
    marks: Marks = ()
    style: dict[str, Any] = field(default_factory=dict)
    spelling: dict[int, str] = field(default_factory=dict)

    @property
    def raw(self) -> bool:
        """Whether this block is verbatim Markdown."""
        return self.type == "codeBlock" and self.attrs.get("language") == RAW

    def plain(self) -> str:
        """The text of this node and all below it."""
        return self.text + "".join(child.plain() for child in self.content)


def raw(text: str) -> Node:
    """A block that keeps `text` verbatim, for what the schema cannot say."""
    return Node("codeBlock", {"language": RAW}, [Node("text", text=text)] if text else [])


def empty(node: Node) -> bool:
    """Whether the node is a paragraph that shows nothing."""
    return node.type == "paragraph" and not any(child.text or child.type != "text" for child in node.content)


def project(marks: Iterable[Mark]) -> Marks:
    """The marks TipTap's schema allows together, in a fixed order: `code` excludes all others, a link wins over it."""
    kept = {mark.name: mark for mark in marks}
    if len(kept) <= 1:
        return tuple(kept.values())
    if "code" in kept:
        kept = {"code": kept["code"]} if "link" not in kept else {n: m for n, m in kept.items() if n != "code"}
    return tuple(kept[name] for name in sorted(kept))


def identity(marks: Marks) -> tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]:
    """What makes two sets of marks the same in the document."""
    return tuple((mark.name, mark.attrs) for mark in project(marks)) if marks else ()


def runs(content: Sequence[Node]) -> Iterator[tuple[str, Hashable]]:
    """Text runs as (text, identity of the marks), neighbours of the same marks joined; other nodes as ("", node)."""
    text, marks = "", None
    for node in content:
        if node.type == "text":
            own = identity(node.marks)
            if text and own != marks:
                yield text, marks
                text = ""
            marks = own
            text += node.text
        else:
            if text:
                yield text, marks
                text = ""
            yield "", key(node)
    if text:
        yield text, marks


def key(node: Node) -> Hashable:
    """What of a node Markdown can say; equal keys mean that the same Markdown serves both."""
    if node.type in {"paragraph", "heading"}:
        inline = tuple((_LINE_BREAKS.sub(" ", text), marks) for text, marks in runs(node.content))
        return node.type, number(node.attrs.get("level"), 1), inline
    if node.type == "codeBlock":
        return node.type, str(node.attrs.get("language") or ""), node.plain()
    if node.type == "table":
        return node.type, alignment(node), tuple(key(row) for row in node.content)
    return node.type, _said(node), tuple(key(child) for child in node.content)


def number(value: Any, default: int) -> int:
    """A number that a client has set: clients set anything."""
    if isinstance(value, str) and value.isdecimal():
        return int(value[:9])
    return int(value) if isinstance(value, int | float) and abs(value) < _HUGE else default


def alignment(table: Node) -> tuple[str | None, ...]:
    """The alignment of each column, which the first row decides."""
    header = table.content[0].content if table.content else []
    return tuple(str(align) if (align := cell.attrs.get("align")) else None for cell in header)


def _said(node: Node) -> Hashable:
    """The attributes of a node that Markdown can say."""
    match node.type:
        case "orderedList":
            return number(node.attrs.get("start"), 1)
        case "taskItem":
            return bool(node.attrs.get("checked"))
        case "image":
            return tuple(str(node.attrs.get(name) or "") for name in ("src", "alt", "title"))
        case "tableCell" | "tableHeader":
            return spans(node)
    return None


def spans(cell: Node) -> tuple[int, int]:
    """How many columns and rows a cell spans."""
    return number(cell.attrs.get("colspan"), 1), number(cell.attrs.get("rowspan"), 1)


def to_json(node: Node) -> dict[str, Any]:
    """The node as ProseMirror's JSON."""
    out: dict[str, Any] = {"type": node.type}
    if node.attrs:
        out["attrs"] = dict(node.attrs)
    if node.type == "text":
        out["text"] = node.text
        marks = [{"type": m.name, **({"attrs": dict(m.attrs)} if m.attrs else {})} for m in project(node.marks)]
        return out | ({"marks": marks} if marks else {})
    if node.content:
        out["content"] = [to_json(child) for child in node.content]
    return out
