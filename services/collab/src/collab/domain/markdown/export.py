"""Live nodes to Markdown: the source's bytes for what is unchanged, our own writing for the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from collab.domain.markdown.align import align, correspond, hunks
from collab.domain.markdown.dress import dress, kind
from collab.domain.markdown.nodes import LISTS, Node, empty, key
from collab.domain.markdown.reader import SEPARATOR
from collab.domain.markdown.source import Block, Source, parse, split_lines
from collab.domain.markdown.writer import Writer

_BLANK = " \t\r\n"
_ENDS = "\r\n"
_MARKER = re.compile(r" {0,3}(?:([-+*])|\d{1,9}([.)]))(?=\s|$)")
_FRONT_MATTER = re.compile(r"---(?s:.*?)[\r\n](?: {0,3}---+|\.\.\.)[ \t]*(?:[\r\n]|$)")
_CLOSED = re.compile(r"#|```|~~~")


_FOLLOWING = key(Node("paragraph", content=[Node("text", text="x")]))


@dataclass(slots=True)
class Piece:
    """A block to be written; `index` is the source block whose place it takes, `fresh` that the text is ours."""

    node: Node
    text: str
    index: int | None = None
    fresh: bool = False


def export(nodes: Sequence[Node], source: Source) -> str:
    """The Markdown of `nodes`, with the bytes of `source` wherever a block is in it unchanged."""
    nodes = _without_surplus(nodes, source)
    keys = [key(node) for node in nodes]
    same = align(source.keys, keys)
    if len(same) == len(nodes) == len(source.blocks):
        return source.text
    unchanged = {j: i for i, j in same}
    changed = _changed(nodes, source, same)
    moved = _moved(source, same)
    pieces: list[Piece] = []
    for at, node in enumerate(nodes):
        before = pieces[-1].node if pieces else None
        if at in unchanged:
            block = source.blocks[unchanged[at]]
            pieces.append(Piece(block.node, block.text, unchanged[at]))
        elif elsewhere := moved.get(keys[at]):
            block = elsewhere.pop()
            pieces.append(Piece(block.node, block.text))
        elif lines := render(node, source, source.blocks[changed[at]] if at in changed else None, before):
            pieces.append(Piece(node, lines, changed.get(at), fresh=True))
    text = Assembly(source, pieces).text()
    if any(
        block.node.raw and "]:" in block.text for i, block in enumerate(source.blocks) if i not in unchanged.values()
    ):
        left = parse(text).references
        if not source.references.keys() <= left.keys():
            return Assembly(source, [_restated(piece, replace(source, references=left)) for piece in pieces]).text()
    return text


def _restated(piece: Piece, source: Source) -> Piece:
    """The piece, written anew if it needed a link reference definition that went with the block it stood in."""
    if _means(piece.text, piece.node, source):
        return piece
    return Piece(piece.node, render(piece.node, source), piece.index, fresh=True)


def _without_surplus(nodes: Sequence[Node], source: Source) -> Sequence[Node]:
    """Editors keep an empty paragraph at the end; only those that the source has are written."""

    def trailing(of: Sequence[Node]) -> int:
        count = 0
        while count < len(of) and empty(of[-1 - count]):
            count += 1
        return count

    surplus = trailing(nodes) - trailing([block.node for block in source.blocks])
    return nodes[: len(nodes) - surplus] if surplus > 0 else nodes


def _changed(nodes: Sequence[Node], source: Source, same: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Which source block a changed node is the new form of."""
    out = {}
    for a, b, c, d in hunks(list(same), len(source.blocks), len(nodes)):
        old = [block.node for block in source.blocks[a:b]]
        out.update({c + j: a + i for i, j in correspond(old, nodes[c:d], kind, Node.plain)})
    return out


def _moved(source: Source, same: Sequence[tuple[int, int]]) -> dict[object, list[Block]]:
    """Source blocks that are not where they were, by key."""
    kept = {i for i, _ in same}
    out: dict[object, list[Block]] = {}
    for i, block in reversed(list(enumerate(source.blocks))):
        if i not in kept:
            out.setdefault(block.key, []).append(block)
    return out


def render(node: Node, source: Source, block: Block | None = None, before: Node | None = None) -> str:
    """One block in our own writing, in the style of the source `block` it is the new form of."""
    if block:
        dress(node, block.node)
    else:
        _adopt(node, source)
    return written(node, source, before, block)


def written(node: Node, source: Source, before: Node | None = None, block: Block | None = None) -> str:
    """The first of several ways to write `node` that the reader takes for exactly this node; ends with a line end.

    The lines of `block` where they can stay, then ours lightly escaped, then ours with everything escaped.
    """
    light = Writer(source.references)
    ours = _ended(light.block(node, before), source.eol)
    if block:
        merged = _merged(light.block(block.node), block.text, light.block(node, before), source.eol)
        if _means(merged, node, source):
            return merged
    if _means(ours, node, source):
        return ours
    full = _ended(Writer(source.references, full=True).block(node, before), source.eol)
    return full if _means(full, node, source) else ours


def _means(text: str, node: Node, source: Source) -> bool:
    """Whether the reader takes `text` for this node and nothing else, and what follows for something else."""
    parsed = parse(f"{text}{source.eol}x", source.references)
    return parsed.keys == [key(node), _FOLLOWING] and not "".join(parsed.gaps).strip(_BLANK)


def _adopt(node: Node, source: Source) -> None:
    """Write a new block as the source writes others of its type."""
    style = source.styles.get(node.type, {})
    node.style = {name: style[name] for name in ("marker", "pad", "fence", "rule") if name in style}


def _ended(lines: Sequence[str], eol: str) -> str:
    return "".join(line + eol for line in lines) if any(lines) else ""


def _merged(old: Sequence[str], text: str, new: Sequence[str], eol: str) -> str:
    """Our lines `new`, except where they are as in `old`, our writing of the source: there the lines of the source."""
    theirs = split_lines(text)
    if theirs[-1] == theirs[-1].rstrip(_ENDS):
        theirs[-1] += eol
    to_new = dict(align(old, new))
    out: list[str] = []
    done = 0
    for start, end, first, last in _regions(old, [line.rstrip(_ENDS) for line in theirs]):
        places = [to_new.get(at) for at in range(start, end)]
        if None in places or places != list(range(places[0] or 0, (places[0] or 0) + len(places))):
            continue
        at = places[0] or 0
        out += (line + eol for line in new[done:at])
        out += theirs[first:last]
        done = at + len(places)
    return "".join([*out, *(line + eol for line in new[done:])])


def _regions(old: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Lines of our writing with the source lines they stand for, as small as can be told."""
    pairs = align(old, theirs)
    regions = {i: (i, i + 1, j, j + 1) for i, j in pairs}
    for a, b, c, d in hunks(pairs, len(old), len(theirs)):
        if b - a == d - c:
            regions |= {a + k: (a + k, a + k + 1, c + k, c + k + 1) for k in range(b - a)}
        elif b > a:
            regions[a] = (a, b, c, d)
        elif a - 1 in regions:
            # Source lines that we do not write go with the line before them, at the start with the one behind.
            regions[a - 1] = (a - 1, a, regions[a - 1][2], d)
        elif a in regions:
            regions[a] = (a, a + 1, c, regions[a][3])
    return sorted(regions.values())


class Assembly:
    """Puts pieces and gaps together: each gap once, in its order; what a gap hides is never lost."""

    def __init__(self, source: Source, pieces: Sequence[Piece]) -> None:
        self._source = source
        self._pieces = pieces
        self._gap = 0
        self._out: list[str] = []

    def text(self) -> str:
        """The document."""
        before: Piece | None = None
        for at, piece in enumerate(self._pieces):
            if not piece.fresh and at + 1 < len(self._pieces) and not _closed(piece):
                piece = Piece(piece.node, render(piece.node, self._source), piece.index, fresh=True)  # noqa: PLW2901
            elif piece.fresh and piece.index is not None:
                self._match_end(piece, last=at + 1 == len(self._pieces))
            self._join(before, piece)
            self._put(piece.text)
            before = piece
        self._tail(before)
        return self._source.bom + self._headed("".join(self._out))

    def _put(self, text: str) -> None:
        """Append; a line end of another kind does not become one with the carriage return before it."""
        if text.startswith("\n") and self._out and self._out[-1].endswith("\r"):
            text = "\r" + text
        if text:
            self._out.append(text)

    def _headed(self, text: str) -> str:
        """The document, such that a thematic break at its start does not begin front matter."""
        new = _FRONT_MATTER.match(text) and not _FRONT_MATTER.match(self._source.gaps[0])
        return self._source.eol + text if new else text

    def _match_end(self, piece: Piece, *, last: bool) -> None:
        """The last block ends without a line end if it did before."""
        if (
            last
            and piece.index == len(self._source.blocks) - 1
            and not self._source.blocks[-1].text.endswith(("\r", "\n"))
        ):
            piece.text = piece.text.removesuffix(self._source.eol)

    def _pending(self, upto: int) -> list[str]:
        pending = self._source.gaps[self._gap : upto]
        self._gap = max(self._gap, upto)
        return pending

    def _join(self, before: Piece | None, piece: Piece) -> None:
        previous = before.index if before else -1
        pending = self._pending(piece.index + 1 if piece.index is not None else int(before is None))
        neighbours = piece.index is not None and previous == piece.index - 1
        if neighbours and not piece.fresh and not (before and before.fresh):
            self._put("".join(pending))
            return
        gap = self._glue(pending) if before else self._head(pending)
        gap = self._line_end(gap) if gap else ""
        if before:
            touching = neighbours and _CLOSED.match(before.text + piece.text) is not None
            gap = self._behind(before, piece, gap, touching=touching)
        if gap.strip(_BLANK) and (not neighbours or piece.text[:1] in {'"', "'", "("}):
            gap = self._blank_end(gap)
        self._put(gap)

    def _glue(self, pending: Sequence[str]) -> str:
        """What the gaps hide, or else one of them."""
        hidden = [self._line_end(gap) for gap in pending if gap.strip(_BLANK)]
        return "".join(hidden) if hidden else (pending[-1] if pending else "")

    def _head(self, pending: Sequence[str]) -> str:
        """What the document begins with when other blocks were there first."""
        lines = split_lines(self._glue(pending[1:]))
        while lines and not lines[0].strip(_BLANK):
            lines.pop(0)
        return pending[0] + "".join(lines)

    def _behind(self, before: Piece, piece: Piece, gap: str, *, touching: bool) -> str:
        """The gap, such that `piece` cannot be read as a part of what is `before` it."""
        eol = self._source.eol
        start = "" if before.text.endswith(("\r", "\n")) else eol
        if not gap.strip(_BLANK) and _runs_on(before, piece):
            return f"{start}{eol}{SEPARATOR}{eol}{eol}"
        blank = split_lines(gap)[:1]
        if not (blank and not blank[0].strip(_BLANK)) and not (touching and not gap):
            start += eol
        return start + gap

    def _line_end(self, text: str) -> str:
        return text if text.endswith(("\r", "\n")) else text + self._source.eol

    def _blank_end(self, text: str) -> str:
        lines = split_lines(text)
        return text if not lines[-1].strip(_BLANK) else self._line_end(text) + self._source.eol

    def _tail(self, before: Piece | None) -> None:
        pending = self._pending(len(self._source.gaps))
        whole = len(pending) == 1 and (before.index if before else -1) == len(self._source.blocks) - 1
        if whole and before and not before.fresh:
            self._put("".join(pending))
            return
        gap = self._glue(pending) if whole or any(gap.strip(_BLANK) for gap in pending) else ""
        if before is None:
            gap = self._head(pending) if pending else ""
        if before and gap.strip(_BLANK):
            gap = self._behind(before, before, gap, touching=False)
        self._put(gap)
        if before and not whole:
            self._final_end()

    def _final_end(self) -> None:
        """End the document with a line end exactly if the source did."""
        source = self._source.text
        text = "".join(self._out)
        if source.endswith(("\r", "\n")) or not source:
            text = self._line_end(text)
        else:
            text = text.removesuffix(self._source.eol)
        self._out = [text]


def _closed(piece: Piece) -> bool:
    """Whether what follows stays outside: an unclosed fence swallows all of it."""
    fence = piece.node.style.get("fence") if piece.node.type == "codeBlock" else None
    last = split_lines(piece.text)[-1].strip(_BLANK)
    return not fence or (
        len(last) >= len(fence) and not last.strip(fence[0]) and "\n" in piece.text.strip("\n\r").replace("\r", "\n")
    )


def _runs_on(before: Piece, piece: Piece) -> bool:
    """Whether `piece` would become part of the list, footnote or indented code before it."""
    node, indent = before.node, {" ", "\t"}
    if piece.text[:1] in indent:
        footnote = node.raw and not before.text.lstrip(" ").startswith("<")
        return node.type in LISTS or footnote or (node.type == "codeBlock" and before.text[:1] in indent)
    here, there = _MARKER.match(before.text), _MARKER.match(piece.text)
    lists = all(one.type in LISTS or one.raw for one in (node, piece.node))
    return bool(lists and here and there and here.groups() == there.groups())
