"""The tree in a Y.XmlFragment, encoded as y-prosemirror does: one XmlText per run of text, marks as its attributes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from pycrdt import XmlElement, XmlFragment, XmlText

from collab.domain.markdown.nodes import LINK_DEFAULTS, Mark, Marks, Node, project
from collab.domain.markdown.schema import NODES
from collab.domain.markdown.syntax import MAX_DEPTH

_MAX_DEPTH = 2 * MAX_DEPTH
_SCALAR = str | int | float
_HASHED = re.compile(r"(.*)--[a-zA-Z0-9+/=]{8}$")


@dataclass(slots=True)
class Live:
    """A node with the element it was read from."""

    node: Node
    element: XmlElement | XmlText
    children: list[Live] = field(default_factory=list)


def size(text: str) -> int:
    """Length as the engine counts it: UTF-8 bytes."""
    return len(text.encode())


def read(parent: XmlFragment | XmlElement, depth: int = 0) -> list[Live]:
    """The blocks below `parent`; loose text, which no client writes, is taken for a paragraph rather than lost."""
    return [
        read_one(child, depth)
        if isinstance(child, XmlElement)
        else Live(Node("paragraph", content=list(texts(child))), child)
        for child in parent.children
        if isinstance(child, XmlElement | XmlText)
    ]


def read_one(element: XmlElement, depth: int = 0) -> Live:
    """One element with all below it; what is nested too deep to recurse into becomes a paragraph of its text."""
    if depth > _MAX_DEPTH:
        return Live(Node("paragraph", content=list(_all_texts(element))), element)
    # pycrdt annotates the iterator as a mere iterable.
    attrs = {name: _number(value) for name, value in element.attributes}  # type: ignore[attr-defined]
    live = Live(Node(str(element.tag), attrs), element)
    for child in element.children:
        if isinstance(child, XmlText):
            live.node.content += texts(child)
        elif isinstance(child, XmlElement):
            below = read_one(child, depth + 1)
            live.children.append(below)
            live.node.content.append(below.node)
    return live


def _all_texts(element: XmlElement) -> Iterator[Node]:
    todo: list[Any] = [element]
    while todo:
        child = todo.pop()
        if isinstance(child, XmlText):
            yield from texts(child)
        elif isinstance(child, XmlElement):
            todo += reversed(list(child.children))


def _number(value: Any) -> Any:
    """Numbers come back as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def texts(text: XmlText) -> Iterator[Node]:
    """The runs of one XmlText."""
    for chunk, attrs in text.diff():
        if isinstance(chunk, str) and chunk:
            yield Node("text", text=chunk, marks=_marks(attrs or {}))


def _marks(attrs: dict[str, Any]) -> Marks:
    return project(_mark(name, value) for name, value in attrs.items() if value is not None)


def _mark(name: str, value: Any) -> Mark:
    if hashed := _HASHED.match(name):
        name = hashed[1]
    given = value if isinstance(value, dict) else {}
    attrs = {k: v for k, v in given.items() if v is not None and not (name == "link" and LINK_DEFAULTS.get(k) == v)}
    if name == "link" and not attrs.get("title"):
        attrs.pop("title", None)
    return Mark(name, tuple(sorted((k, v if isinstance(v, _SCALAR) else json.dumps(v)) for k, v in attrs.items())))


def insert(parent: XmlFragment | XmlElement, at: int, node: Node) -> XmlElement:
    """Write a node and all below it as child number `at`."""
    element = XmlElement(node.type)
    parent.children.insert(at, element)
    attrs = {**NODES[node.type].attrs, **node.attrs}
    for name in sorted(attrs):
        if attrs[name] is not None:
            element.attributes[name] = attrs[name]
    write_children(element, 0, node.content)
    return element


def insert_all(parent: XmlFragment | XmlElement, at: int, nodes: Sequence[Node]) -> None:
    """Write nodes from child number `at` on; from the last one up, for the engine walks to a number from the start."""
    for node in reversed(nodes):
        insert(parent, at, node)


def write_children(element: XmlElement, at: int, content: Sequence[Node]) -> None:
    """Write `content` from child number `at` on; neighbouring texts share one XmlText."""
    for is_text, nodes in reversed([(is_text, list(nodes)) for is_text, nodes in groupby(content, _is_text)]):
        if is_text:
            insert_text(element, at, nodes)
        else:
            insert_all(element, at, nodes)


def _is_text(node: Node) -> bool:
    return node.type == "text"


def insert_text(element: XmlElement, at: int, run: Sequence[Node]) -> None:
    """Write runs of text as one XmlText, if there is any."""
    if not run:
        return
    text = XmlText("".join(node.text for node in run))
    element.children.insert(at, text)
    format_text(text, [Node("text", text=node.text) for node in run], run)


def format_text(text: XmlText, now: Sequence[Node], then: Sequence[Node]) -> None:
    """Give the characters of `text`, marked as in `now`, the marks of `then`; one mark at a time, in a fixed order."""
    names = {mark.name for node in (*now, *then) for mark in node.marks}
    for name in sorted(names):
        for start, end, mark in _changes(_by_name(now, name), _by_name(then, name)):
            text.format(start, end, {name: None if mark is None else dict(mark.attrs)})


Spans = list[tuple[int, Mark | None]]


def _by_name(nodes: Sequence[Node], name: str) -> Spans:
    """Ends of stretches in bytes, each with its mark of that name."""
    spans: Spans = []
    end = 0
    for node in nodes:
        end += size(node.text)
        mark = next((Mark(m.name, m.attrs) for m in project(node.marks) if m.name == name), None)
        if spans and spans[-1][1] == mark:
            spans.pop()
        spans.append((end, mark))
    return spans


def _changes(now: Spans, then: Spans) -> Iterator[tuple[int, int, Mark | None]]:
    """Stretches whose mark differs, with the mark they are to have."""
    start = i = j = 0
    while i < len(now) and j < len(then):
        end = min(now[i][0], then[j][0])
        if end > start and now[i][1] != then[j][1]:
            yield start, end, then[j][1]
        start = end
        i, j = i + (now[i][0] == end), j + (then[j][0] == end)


def breaks(content: Sequence[Node]) -> list[list[Node]]:
    """The runs of text between the inline atoms."""
    segments: list[list[Node]] = [[]]
    for node in content:
        if node.type == "text":
            segments[-1].append(node)
        else:
            segments.append([])
    return segments
