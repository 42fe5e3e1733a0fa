"""Markdown cut into blocks: every character belongs to one block's slice or to the gap before it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markdown_it.token import Token

from collab.domain.markdown.nodes import Node, key, raw
from collab.domain.markdown.reader import Reader, UnsayableError
from collab.domain.markdown.syntax import tokens

BOM = "\ufeff"
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_ENDS = "\r\n"


@dataclass(slots=True)
class Block:
    """A node and the exact text it came from, with its line ends."""

    node: Node
    text: str
    key: Hashable


@dataclass
class Source:
    """Parsed Markdown: `gaps[i]` stands before `blocks[i]`, the last one behind all.

    Gaps hold blank lines and what the tree does not show: front matter, link reference definitions.
    """

    bom: str
    blocks: list[Block]
    gaps: list[str]
    references: dict[str, Any]
    eol: str

    @property
    def text(self) -> str:
        """The Markdown, byte for byte."""
        parts = [self.bom]
        for gap, block in zip(self.gaps, self.blocks, strict=False):
            parts += (gap, block.text)
        return "".join([*parts, self.gaps[-1]])

    @cached_property
    def keys(self) -> list[Hashable]:
        """The blocks' keys."""
        return [block.key for block in self.blocks]

    @cached_property
    def styles(self) -> dict[str, dict[str, Any]]:
        """How the first block of each type is written."""
        return {block.node.type: block.node.style for block in reversed(self.blocks) if not block.node.raw}


def split_lines(text: str) -> list[str]:
    """Lines with their ends; CRLF, CR and LF end a line, nothing else does."""
    return _LINE.findall(text)


def dominant_eol(lines: Sequence[str]) -> str:
    """The most frequent line end, LF when there is none."""
    ends = Counter(line[len(line.rstrip(_ENDS)) :] for line in lines)
    del ends[""]
    return max(ends, key=lambda end: (ends[end], end == "\n"), default="\n")


def parse(text: str, references: dict[str, Any] | None = None) -> Source:
    """Read Markdown; `references` are link definitions known from elsewhere."""
    bom = BOM if text.startswith(BOM) else ""
    lines = split_lines(text[len(bom) :])
    flat = "\n".join(line.rstrip(_ENDS) for line in lines)
    found, env = tokens(flat, references)
    defined = _definition_lines(env, references or {})
    blocks: list[Block] = []
    gaps: list[str] = []
    end = 0
    for group, start, stop in _groups(found, lines):
        node = _read(group, lines, start, stop, defined)
        if node is None:
            continue
        gaps.append("".join(lines[end:start]))
        blocks.append(Block(node, "".join(lines[start:stop]), key(node)))
        end = stop
    gaps.append("".join(lines[end:]))
    return Source(bom, blocks, gaps, env["references"], dominant_eol(lines))


def _definition_lines(env: dict[str, Any], known: dict[str, Any]) -> list[int]:
    own = [reference for label, reference in env["references"].items() if label not in known]
    return sorted(reference["map"][0] for reference in [*own, *env.get("duplicate_refs", [])])


def _groups(found: Sequence[Token], lines: Sequence[str]) -> Iterator[tuple[Sequence[Token], int, int]]:
    """The tokens of each top-level block with its lines; blank lines at its end belong to the gap."""
    first = 0
    for at, token in enumerate(found):
        if token.level or token.nesting > 0:
            continue
        group = found[first : at + 1]
        first = at + 1
        if group[0].type == "front_matter" or group[0].map is None:
            continue
        start, stop = group[0].map
        if group[0].type not in {"fence", "html_block"}:
            while stop > start + 1 and not lines[stop - 1].strip(" \t\r\n"):
                stop -= 1
        yield group, start, min(stop, len(lines))


def _read(group: Sequence[Token], lines: Sequence[str], start: int, stop: int, defined: Sequence[int]) -> Node | None:
    try:
        # A definition inside a container would be lost with the container's text.
        if group[0].nesting > 0 and any(start <= line < stop for line in defined):
            raise UnsayableError("link reference definition")
        return Reader(group, lines).block()
    except UnsayableError:
        return raw("\n".join(line.rstrip(_ENDS) for line in lines[start:stop]))
