"""Brings a live tree from one Markdown to the next with as few operations as can be, so that others' edits survive."""

from __future__ import annotations

from collections.abc import Sequence

from pycrdt import XmlElement, XmlFragment, XmlText

from collab.domain.markdown import fragment
from collab.domain.markdown.align import align, correspond, edits, hunks
from collab.domain.markdown.dress import TEXTBLOCKS
from collab.domain.markdown.fragment import Live
from collab.domain.markdown.nodes import BREAK, Node, key
from collab.domain.markdown.schema import NODES

_CONTAINERS = frozenset(NODES) - TEXTBLOCKS - {"codeBlock", "horizontalRule", "image", "hardBreak", "text"}


def patch_children(
    parent: XmlFragment | XmlElement, live: Sequence[Live], old: Sequence[Node], new: Sequence[Node]
) -> None:
    """Change the blocks `live` below `parent`, which stand for `old`, by the difference from `old` to `new`."""
    old_keys, new_keys = [key(node) for node in old], [key(node) for node in new]
    where = _counterparts(live, old, old_keys)
    same = align(old_keys, new_keys)
    replaced = list(hunks(same, len(old), len(new)))
    for a, b, c, d in reversed(replaced):
        _replace(
            parent, [(where.get(i), old[i]) for i in range(a, b)], new[c:d], _place(where, a, len(old), len(live)), live
        )


def _counterparts(live: Sequence[Live], old: Sequence[Node], old_keys: Sequence[object]) -> dict[int, int]:
    """Where each old block lives now."""
    same = align(old_keys, [key(item.node) for item in live])
    where = dict(same)
    for a, b, c, d in hunks(same, len(old), len(live)):
        pairs = correspond(old[a:b], [item.node for item in live[c:d]], lambda node: node.type, Node.plain)
        where.update({a + i: c + j for i, j in pairs})
        # What Markdown cannot say lives on as another type: by place.
        if b - a == d - c:
            where.update({a + k: c + k for k in range(b - a) if a + k not in where})
    return where


def _place(where: dict[int, int], at: int, end: int, size: int) -> int:
    """The child number behind all blocks before number `at`."""
    for before in range(at - 1, -1, -1):
        if before in where:
            return where[before] + 1
    return min((where[i] for i in range(at, end) if i in where), default=0 if at == 0 else size)


def _replace(
    parent: XmlFragment | XmlElement,
    old: Sequence[tuple[int | None, Node]],
    new: Sequence[Node],
    place: int,
    live: Sequence[Live],
) -> None:
    """Turn neighbouring blocks into `new`, from the last one up so that numbers stay right."""
    pairs = correspond([node for _, node in old], new, lambda node: node.type, Node.plain)
    kept = {i: j for i, j in pairs if old[i][0] is not None}
    upto = len(new)
    for i in range(len(old) - 1, -1, -1):
        at, before = old[i]
        if i in kept and at is not None:
            fragment.insert_all(parent, at + 1, new[kept[i] + 1 : upto])
            upto = kept[i]
            patch(parent, at, live[at], before, new[kept[i]])
        elif at is not None:
            del parent.children[at]
    fragment.insert_all(parent, place, new[:upto])


def patch(parent: XmlFragment | XmlElement, at: int, live: Live, old: Node, new: Node) -> None:
    """Change one block in place; if that does not give `new` exactly, replace it."""
    element = live.element
    if isinstance(element, XmlElement) and live.node.type == new.type:
        _attributes(element, live.node, old, new)
        if new.type in _CONTAINERS and len(live.children) == len(element.children):
            patch_children(element, live.children, old.content, new.content)
        elif new.type in TEXTBLOCKS or new.type == "codeBlock":
            _inline(element, live.node, new)
        if key(fragment.read_one(element).node) == key(new):
            return
    del parent.children[at]
    fragment.insert(parent, at, new)


def _attributes(element: XmlElement, live: Node, old: Node, new: Node) -> None:
    """Set what differs between old and new; what Markdown cannot say stays."""
    for name in sorted(NODES[new.type].attrs):
        before, after = old.attrs.get(name), new.attrs.get(name)
        if before == after or live.attrs.get(name) == after:
            continue
        if after is None:
            del element.attributes[name]
        else:
            element.attributes[name] = after


def _inline(element: XmlElement, live: Node, new: Node) -> None:
    """Patch the runs of text between line breaks; they stay apart, so two XmlTexts never meet."""
    now, then = fragment.breaks(live.content), fragment.breaks(new.content)
    head = 0
    while head < min(len(now), len(then)) - 1 and _same(now[head], then[head]):
        head += 1
    tail = 0
    while tail < min(len(now), len(then)) - 1 - head and _same(now[-1 - tail], then[-1 - tail]):
        tail += 1
    slots = _slots(element)
    if slots is None or len(slots) != len(now):
        del element.children[:]
        fragment.write_children(element, 0, new.content)
        return
    middle = min(len(now), len(then)) - head - tail
    stop = head + middle
    extra, surplus = then[stop : len(then) - tail], len(now) - tail - stop
    if surplus:
        end = slots[stop + surplus - 1]
        start = slots[stop - 1]
        first = start[0] + (start[1] is not None)
        del element.children[first : end[0] + (end[1] is not None)]
    elif extra:
        start = slots[stop - 1]
        behind = start[0] + (start[1] is not None)
        content = [node for segment in extra for node in (Node(BREAK), *segment)]
        fragment.write_children(element, behind, content)
    for number in range(stop - 1, head - 1, -1):
        _segment(element, slots[number], now[number], then[number])


def _same(now: Sequence[Node], then: Sequence[Node]) -> bool:
    return key(Node("paragraph", content=list(now))) == key(Node("paragraph", content=list(then)))


Slot = tuple[int, XmlText | None]


def _slots(element: XmlElement) -> list[Slot] | None:
    """For each run of text between atoms its child number and XmlText, if it has one; None if texts are adjacent."""
    slots: list[Slot] = []
    start, text = 0, None
    for number, child in enumerate(element.children):
        if isinstance(child, XmlText):
            if text is not None:
                return None
            text = child
        else:
            slots.append((start, text))
            start, text = number + 1, None
    return [*slots, (start, text)]


def _segment(element: XmlElement, slot: Slot, now: Sequence[Node], then: Sequence[Node]) -> None:
    at, text = slot
    if text is None:
        fragment.insert_text(element, at, then)
        return
    old, new = ("".join(node.text for node in nodes) for nodes in (now, then))
    for start, end, replacement in edits(old, new):
        first = fragment.size(old[:start])
        if end > start:
            del text[first : first + fragment.size(old[start:end])]
        if replacement:
            text.insert(first, replacement, _neighbour_marks(now, start))
    fragment.format_text(text, list(fragment.texts(text)), then)


def _neighbour_marks(now: Sequence[Node], at: int) -> dict[str, object]:
    """The marks of the character before `at`: what is typed there inherits them, and needs no marker."""
    for node in now:
        if at <= len(node.text):
            return {mark.name: dict(mark.attrs) for mark in node.marks}
        at -= len(node.text)
    return {}
