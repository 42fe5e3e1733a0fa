"""TipTap 3's schema as data: a client deletes, for everyone, whatever its schema refuses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from collab.domain.markdown.nodes import Node, project

BLOCKS = frozenset(
    [
        "paragraph",
        "heading",
        "blockquote",
        "bulletList",
        "orderedList",
        "taskList",
        "codeBlock",
        "horizontalRule",
        "image",
        "table",
    ]
)
INLINE = frozenset({"text", "hardBreak"})
MARKS = frozenset({"link", "bold", "code", "italic", "strike", "underline", "highlight"})


class SchemaError(ValueError):
    """A tree that TipTap's schema refuses."""


class Kind(NamedTuple):
    """What a node may hold: a pattern over the names of its children, its attributes with their defaults, its marks."""

    content: re.Pattern[str]
    attrs: Mapping[str, Any] = {}
    marks: frozenset[str] = MARKS


def _kind(content: str, marks: frozenset[str] = MARKS, /, **attrs: Any) -> Kind:
    """`content` in ProseMirror's notation, with the groups block and inline."""
    groups = {"block": BLOCKS, "inline": INLINE}

    def names(match: re.Match[str]) -> str:
        return "(?:" + "|".join(f"{name} " for name in sorted(groups.get(match[0], {match[0]}))) + ")"

    pattern = re.sub(r"[A-Za-z]+", names, content).replace(") ", ")")
    return Kind(re.compile(pattern), attrs, marks)


_CELL = {"colspan": 1, "rowspan": 1, "colwidth": None, "align": None}
NODES: Mapping[str, Kind] = {
    "doc": _kind("block+"),
    "paragraph": _kind("inline*"),
    "heading": _kind("inline*", level=1),
    "blockquote": _kind("block+"),
    "bulletList": _kind("listItem+"),
    "orderedList": _kind("listItem+", start=1, type=None),
    "taskList": _kind("taskItem+"),
    "listItem": _kind("paragraph block*"),
    "taskItem": _kind("paragraph block*", checked=False),
    "codeBlock": _kind("text*", frozenset(), language=None),
    "horizontalRule": _kind(""),
    "hardBreak": _kind(""),
    "image": _kind("", src=None, alt=None, title=None, width=None, height=None),
    "table": _kind("tableRow+"),
    "tableRow": _kind("(tableCell|tableHeader)*"),
    "tableCell": _kind("block+", **_CELL),
    "tableHeader": _kind("block+", **_CELL),
    "text": _kind(""),
}


def check(nodes: Iterable[Node]) -> None:
    """Make sure that TipTap accepts `nodes` as the content of a document.

    Raises:
        SchemaError: it would delete or refuse one of them.
    """
    for node in nodes:
        if node.type not in BLOCKS:
            raise SchemaError(f"{node.type} is no block")
        _check(node)


def _check(node: Node) -> None:
    kind = NODES.get(node.type)
    if kind is None:
        raise SchemaError(f"unknown node {node.type}")
    if not kind.content.fullmatch("".join(f"{child.type} " for child in node.content)):
        raise SchemaError(f"{node.type} cannot hold {[child.type for child in node.content]}")
    if unknown := node.attrs.keys() - kind.attrs.keys():
        raise SchemaError(f"{node.type} has no attributes {sorted(unknown)}")
    for child in node.content:
        if child.type == "text":
            _check_text(child, kind.marks)
        else:
            _check(child)


def _check_text(text: Node, allowed: frozenset[str]) -> None:
    if not text.text:
        raise SchemaError("a text cannot be empty")
    if unknown := {mark.name for mark in project(text.marks)} - allowed:
        raise SchemaError(f"marks {sorted(unknown)} are not allowed here")
