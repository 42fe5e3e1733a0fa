"""Writes blocks as Markdown lines (LF); the style of the source is kept where a node still carries it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from collab.domain.markdown import escape, inline
from collab.domain.markdown.inline import Context
from collab.domain.markdown.nodes import LISTS, Node, alignment, empty, number, spans
from collab.domain.markdown.reader import EMPTY, NOT_EMPTY, SEPARATOR
from collab.domain.markdown.syntax import html

Lines = list[str]
_RULES = {"left": ":---", "center": ":---:", "right": "---:", None: "---"}
_RUN = re.compile(r"^ {0,3}(`{3,}|~{3,})", re.MULTILINE)
_CLOSING, _ESCAPED = re.compile(r"(^|[ \t])(#+)$"), r"\1\\\2"
_LAST = 999_999_999
_UNDERLINES = ("===", "---")
_BLANK = re.compile(r"\n(?=\s*\n)")
_TASK = re.compile(r"\[[ xX]\](?:[ \t]|$)")


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes blocks; `full` escapes everything and drops the source's style, for what would be misread otherwise."""

    references: dict[str, dict[str, str]]
    full: bool = False

    def block(self, node: Node, before: Node | None = None) -> Lines:
        """One block; `before` is its elder sibling, which must not run into it."""
        write = _WRITE.get(node.type)
        if write is None:
            return self.paragraph(node)
        return write(self, node, before) if node.type in _SIBLING_AWARE else write(self, node)

    def blocks(self, nodes: Sequence[Node], *, tight: bool = False) -> Lines:
        """Blocks one below the other, with blank lines unless a tight list can do without."""
        out: Lines = []
        before: Node | None = None
        for node in nodes:
            lines = self.block(node, before)
            if before is not None:
                out += _between(before, node, lines, tight=tight and not self.full)
            out += lines
            before = node
        return out

    def _context(self, **how: bool) -> Context:
        return Context(self.references, self.full, **how)

    def _style(self, node: Node) -> dict[str, object]:
        return {} if self.full else node.style

    def paragraph(self, node: Node) -> Lines:
        """A paragraph; an empty one is written as a non-breaking space, as TipTap's own Markdown does."""
        if empty(node):
            return [EMPTY]
        written = escape.lines(inline.write(node.content, self._context()))
        return (NOT_EMPTY if written == EMPTY else written).split("\n")

    def heading(self, node: Node) -> Lines:
        """A heading, underlined if it was."""
        level = min(max(number(node.attrs.get("level"), 1), 1), 6)
        if self._style(node).get("setext") and level <= len(_UNDERLINES) and node.content and node.content[0].text:
            lines = escape.lines(inline.write(node.content, self._context())).split("\n")
            return [*lines, _UNDERLINES[level - 1]]
        written = inline.write(node.content, self._context(one_line=True))
        return [f"{'#' * level} {_CLOSING.sub(_ESCAPED, written)}".rstrip(" ")]

    def quote(self, node: Node) -> Lines:
        """A block quote."""
        lone = len(node.content) == 1 and empty(node.content[0])
        return [">"] if lone else _prefixed("> ", self.blocks(node.content))

    def code(self, node: Node, before: Node | None) -> Lines:
        """A code block, fenced unless it was indented and can stay so."""
        text = node.plain()
        if node.raw:
            return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        language = str(node.attrs.get("language") or "")
        fence = str(self._style(node).get("fence", "```"))
        indentable = text.strip("\n") == text and text.strip() and not language
        if not fence and indentable and before is not None and before.type not in LISTS | {"paragraph", "codeBlock"}:
            return _prefixed("    ", text.split("\n"))
        char = "~" if "`" in language or fence[:1] == "~" else "`"
        longest = max((len(run) for run in _RUN.findall(text) if run[0] == char), default=2)
        fence = char * max(longest + 1, len(fence), 3)
        body = (text if text.strip("\n") else text[:-1]).split("\n") if text else []
        return [fence + " " * language.startswith(char) + escape.info(language), *body, fence]

    def rule(self, node: Node) -> Lines:
        """A thematic break."""
        return [str(self._style(node).get("rule", "___" if self.full else "---"))]

    def image(self, node: Node) -> Lines:
        """An image alone in its paragraph."""
        alt = escape.text(str(node.attrs.get("alt") or ""), full=self.full, in_link=True, references=self.references)
        src, title = str(node.attrs.get("src") or ""), node.attrs.get("title") or None
        label = inline.reference(str(self._style(node).get("label", "")), src, title, self.references)
        return f"![{alt}]{label or inline.target(src, title)}".split("\n")

    def list(self, node: Node, before: Node | None) -> Lines:
        """A list of any kind, told from a list before it by its marker."""
        ordered = node.type == "orderedList"
        style = self._style(node)
        marker = str(style.get("marker", "." if ordered else "-"))
        taken = _marker(before) if before is not None else None
        if marker == taken:
            marker = {"-": "*", "*": "-", "+": "-", ".": ")", ")": "."}[marker]
        node.style["written"] = marker
        tight = bool(style.get("tight", not self.full)) and all(_tight(item) for item in node.content)
        literal = node.type == "bulletList" and all(_TASK.match(_opening(item)) for item in node.content)
        count, step = max(number(node.attrs.get("start"), 1), 0), int(str(style.get("step", 1)))
        out: Lines = []
        for item in node.content:
            if out and not tight:
                out.append("")
            bullet = f"{min(count, _LAST)}{marker}" if ordered else marker
            out += self._item(item, bullet + " " * int(str(style.get("pad", 1))), tight=tight, literal=literal)
            count += step
        return out

    def _item(self, item: Node, bullet: str, *, tight: bool, literal: bool) -> Lines:
        content = _shown(item)
        box = {True: "[x] ", False: "[ ] "}[bool(item.attrs.get("checked"))] if item.type == "taskItem" else ""
        if len(content) == 1 and empty(content[0]):
            return [(bullet + box).rstrip(" ")]
        lines = self.blocks(content, tight=tight)
        if content[0].type == "horizontalRule" and lines[0][0] == bullet[0]:
            # All of one character, the item itself would be a rule.
            lines[0] = "___"
        if literal and lines[0].startswith("["):
            lines[0] = "\\" + lines[0]
        if box and empty(content[0]):
            lines[0] = ""
        return [(bullet + box + lines[0]).rstrip(" " * (not lines[0])), *_prefixed(" " * len(bullet), lines[1:])]

    def table(self, node: Node) -> Lines:
        """A GFM table, or HTML when it holds more than that can say."""
        if not _simple(node):
            return self._html(node)
        columns = alignment(node)
        rows = [self._row([self._cell(cell) for cell in row.content]) for row in node.content]
        return [rows[0], self._row([_RULES.get(column, "---") for column in columns]), *rows[1:]]

    def _row(self, cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def _cell(self, cell: Node) -> str:
        inner = cell.content[0]
        if inner.type == "image":
            written = " ".join(self.image(inner))
        else:
            written = inline.write(inner.content, self._context(one_line=True, cell=True))
        return written.replace("|", "\\|")

    def _html(self, node: Node) -> Lines:
        rows = "".join(f"<tr>\n{''.join(self._html_cell(cell) for cell in row.content)}</tr>\n" for row in node.content)
        return f"<table>\n{rows}</table>".split("\n")

    def _html_cell(self, cell: Node) -> str:
        tag = "th" if cell.type == "tableHeader" else "td"
        named = zip(("colspan", "rowspan"), spans(cell), strict=True)
        spanned = "".join(f' {name}="{span}"' for name, span in named if span != 1)
        align = str(cell.attrs.get("align"))
        shown = f' align="{align}"' if align in {"left", "center", "right"} else ""
        body = html("\n".join(self.blocks(cell.content)), self.references).strip()
        # A blank line would end the HTML block.
        return f"<{tag}{spanned}{shown}>{_BLANK.sub('&#10;', body)}</{tag}>\n"


def _marker(node: Node) -> object:
    """The marker a list was written with."""
    return node.style.get("written", node.style.get("marker")) if node.type in LISTS else None


def _shown(item: Node) -> Sequence[Node]:
    """The blocks of an item but the empty paragraph that only the schema wants before another block."""
    content = item.content
    wanted = item.type == "listItem" and len(content) > 1 and empty(content[0]) and content[1].type != "paragraph"
    return content[1:] if wanted else content


def _tight(item: Node) -> bool:
    """Whether an item can do without blank lines."""
    return all(_may_touch(before, node) for before, node in pairwise(_shown(item)))


def _opening(item: Node) -> str:
    first = item.content[0].content if item.content else []
    return first[0].text if first and first[0].type == "text" and not first[0].marks else ""


def _prefixed(prefix: str, lines: Lines) -> Lines:
    return [(prefix + line) if line else prefix.rstrip(" ") for line in lines]


def _simple(table: Node) -> bool:
    """Whether GFM can say the table: one header row, as wide as all others, one paragraph or image in a cell."""
    if not table.content or not table.content[0].content:
        return False
    width = len(table.content[0].content)
    for at, row in enumerate(table.content):
        kind = "tableCell" if at else "tableHeader"
        if len(row.content) != width or not all(cell.type == kind and _plain_cell(cell) for cell in row.content):
            return False
    return True


def _plain_cell(cell: Node) -> bool:
    return spans(cell) == (1, 1) and len(cell.content) == 1 and cell.content[0].type in {"paragraph", "image"}


def _between(before: Node, node: Node, lines: Lines, *, tight: bool) -> Lines:
    """What stands between two blocks."""
    if before.type in LISTS:
        same = node.type in LISTS and _marker(before) == _marker(node)
        if same or lines[0][:1] in {" ", "\t"}:
            return ["", SEPARATOR, ""]
    return [] if tight and _may_touch(before, node) else [""]


def _may_touch(before: Node, node: Node) -> bool:
    """Whether two blocks in a tight list need no blank line between them."""
    above, below = _kind(before), _kind(node)
    if above in {"raw", "table"} or below == "raw":
        return False
    if above in LISTS | {"blockquote"}:
        return below in {"fence", "heading", "horizontalRule"} or (above in LISTS and below in LISTS)
    if above != "paragraph":
        return below != "table"
    if below in LISTS:
        first = node.content[0].content if node.content else []
        counts_on = below == "orderedList" and number(node.attrs.get("start"), 1) != 1
        return not counts_on and not (len(first) == 1 and empty(first[0]))
    ruled = below == "horizontalRule" and node.style.get("rule", "---")[0] != "-"
    return ruled or below in {"fence", "heading", "blockquote"}


def _kind(node: Node) -> str:
    """The type, with code told apart by how it is written."""
    if node.raw:
        return "paragraph" if node.style.get("paragraph") else "raw"
    return "fence" if node.type == "codeBlock" and node.style.get("fence") != "" else node.type


_SIBLING_AWARE = LISTS | {"codeBlock"}
_WRITE: dict[str, Callable[..., Lines]] = {
    "paragraph": Writer.paragraph,
    "heading": Writer.heading,
    "blockquote": Writer.quote,
    "codeBlock": Writer.code,
    "horizontalRule": Writer.rule,
    "image": Writer.image,
    "bulletList": Writer.list,
    "orderedList": Writer.list,
    "taskList": Writer.list,
    "table": Writer.table,
}
