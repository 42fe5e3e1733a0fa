"""Gives a live node the style and the spelling of the source block it came from."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from collab.domain.markdown.align import align, correspond, hunks, stretches
from collab.domain.markdown.nodes import BREAK, LISTS, Marks, Node, identity, key

TEXTBLOCKS = frozenset({"paragraph", "heading"})


def kind(node: Node) -> Hashable:
    """Nodes of one kind can be new forms of each other."""
    if node.type in TEXTBLOCKS:
        return "text"
    return "list" if node.type in LISTS else (node.type, node.raw)


def dress(live: Node, source: Node) -> None:
    """Let `live`, and all below it, remember how `source` was written."""
    if live.type == source.type:
        live.style = {name: value for name, value in source.style.items() if name != "written"}
    elif live.type in TEXTBLOCKS or live.type in LISTS:
        live.style = {name: source.style[name] for name in ("tight", "pad") if name in source.style}
    if live.type in TEXTBLOCKS:
        live.content = _dressed(live.content, source.content)
        return
    for i, j in counterparts(source.content, live.content):
        dress(live.content[j], source.content[i])


def counterparts(old: Sequence[Node], new: Sequence[Node]) -> list[tuple[int, int]]:
    """Equal nodes, and between them those that are new forms of old ones."""
    pairs = align([key(node) for node in old], [key(node) for node in new])
    changed = [
        (a + i, c + j)
        for a, b, c, d in hunks(pairs, len(old), len(new))
        for i, j in correspond(old[a:b], new[c:d], kind, Node.plain)
    ]
    return sorted(pairs + changed)


class Char(NamedTuple):
    """A character with its marks, its spelling, and the node it is of; an atom counts as a line end."""

    char: str
    marks: Marks
    spelt: str | None
    node: Node


def _chars(content: Sequence[Node]) -> list[Char]:
    chars: list[Char] = []
    for node in content:
        if node.type == "text":
            chars += [Char(char, node.marks, node.spelling.get(at), node) for at, char in enumerate(node.text)]
        else:
            chars.append(Char("\n", (), None, node))
    return chars


def _dressed(live: Sequence[Node], source: Sequence[Node]) -> list[Node]:
    old, new = _chars(source), _chars(live)
    texts = ("".join(char.char for char in chars) for chars in (old, new))
    origin = {q + k: p + k for p, q, length in stretches(*texts) for k in range(length)}
    out: list[Node] = []
    for at, char in enumerate(new):
        before = old[origin[at]] if at in origin else None
        if char.node.type != "text":
            out.append(before.node if before and before.node.type == char.node.type == BREAK else char.node)
            continue
        marks, spelt = char.marks, None
        last = out[-1] if out and out[-1].type == "text" else None
        if before and before.node.type == "text" and identity(before.marks) == identity(marks):
            marks, spelt = before.marks, before.spelt
        elif last and identity(last.marks) == identity(marks):
            marks = last.marks
        if last is None or last.marks != marks:
            last = Node("text", marks=marks)
            out.append(last)
        if spelt is not None:
            last.spelling[len(last.text)] = spelt
        last.text += char.char
    return out
