"""The Markdown we read: CommonMark, GFM's tables and strikethrough, `==highlight==`, and what must be left alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter
from markdown_it.token import Token
from mdit_py_plugins.front_matter import front_matter_plugin

MAX_DEPTH = 32
_INDENT = 3
_MATH_LINES = 200
OPAQUE = re.compile(r"\[\^[^\]\s]+\]|(?<![\w\\$])\$(?![\s$])(?:[^$\\\n`]|\\.)*(?<![\s\\])\$(?![\d$])")
_DEFINITION = re.compile(r"[:~][ \t]+\S")
FOOTNOTE = re.compile(r"\[\^[^\]\s]+\]:")


def alone(text: str) -> str | None:
    """The type of the only block that `text` is by itself; None if there are more, or if it swallows what follows."""
    blocks = [token.type for token in tokens(f"{text}\n\nx")[0] if token.level == 0 and token.nesting >= 0]
    return blocks[0] if blocks[1:] == ["paragraph_open"] else None


def html(text: str, references: Mapping[str, Any] | None = None) -> str:
    """The Markdown as HTML, as we understand it."""
    return str(_HTML.render(text, {"references": dict(references or {})}))


def _parser() -> MarkdownIt:
    """A new parser; links keep the address the author wrote."""
    # Beyond `maxNesting` markdown-it drops text; far above MAX_DEPTH, where we keep a block verbatim, it cannot.
    md = MarkdownIt("commonmark", {"store_labels": True, "maxNesting": 4 * MAX_DEPTH})
    md.enable(["table", "strikethrough"])
    md.use(front_matter_plugin)
    [front_matter] = [rule.fn for rule in md.block.ruler.__rules__ if rule.name == "front_matter"]

    def outermost(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        """The plugin takes `- ---` on the first line, in a list, for front matter too."""
        return state.level == 0 and front_matter(state, start, end, silent)

    md.block.ruler.at("front_matter", outermost, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    md.block.ruler.before("table", "opaque", _opaque_block, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    md.block.ruler.before("paragraph", "definitions", _definitions)
    md.inline.ruler.before("backticks", "opaque", _opaque_inline)
    md.inline.ruler.before("emphasis", "highlight", _highlight)
    md.inline.ruler2.before("emphasis", "highlight", _pair_highlights)
    md.normalizeLink = md.normalizeLinkText = lambda url: url  # type: ignore[method-assign,assignment]
    return md


def tokens(text: str, references: Mapping[str, Any] | None = None) -> tuple[list[Token], dict[str, Any]]:
    """Markdown-it's tokens of `text` (LF only), and what it learnt of link references."""
    env: dict[str, Any] = {"references": dict(references or {})}
    return _TOKENS.parse(text, env), env


def _opaque_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Footnote definitions and display math."""
    if state.is_code_block(start):
        return False
    line = _line(state, start)
    stop: int | None
    if FOOTNOTE.match(line):
        # A mere question must not look at further lines: it is asked for each of them.
        stop = start + 1 if silent else _indented_end(state, start, end)
    elif line.startswith("$$"):
        stop = _math_end(state, start, end)
    else:
        return False
    if stop is not None and not silent:
        _push_opaque(state, start, stop)
    return stop is not None


def _definitions(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A term and, on the next line, its definition."""
    if silent or start + 1 >= end or not _DEFINITION.match(_line(state, start + 1)):
        return False
    if state.sCount[start + 1] < state.blkIndent:
        return False
    _push_opaque(state, start, _indented_end(state, start + 1, end))
    return True


def _push_opaque(state: StateBlock, start: int, stop: int) -> None:
    token = state.push("opaque", "", 0)
    token.map = [start, stop]
    token.content = state.getLines(start, stop, state.blkIndent, keepLastLF=False)
    state.line = stop


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


def _indented_end(state: StateBlock, start: int, end: int) -> int:
    stop, line = start + 1, start + 1
    blank = False
    while line < end:
        if state.isEmpty(line):
            blank = True
        elif state.sCount[line] - state.blkIndent > _INDENT or (not blank and _continues(state, line, end)):
            stop, blank = line + 1, False
        else:
            break
        line += 1
    return stop


def _continues(state: StateBlock, line: int, end: int) -> bool:
    """Whether the line would go on with a paragraph."""
    if state.sCount[line] < state.blkIndent:
        return False
    return not any(rule(state, line, end, True) for rule in state.md.block.ruler.getRules("paragraph"))


def _math_end(state: StateBlock, start: int, end: int) -> int | None:
    first = _line(state, start).rstrip()
    if len(first) > len("$$$$") and first.endswith("$$"):
        return start + 1
    for line in range(start + 1, min(end, start + _MATH_LINES)):
        if state.sCount[line] < state.blkIndent and not state.isEmpty(line):
            return None
        if _line(state, line).rstrip().endswith("$$"):
            return line + 1
    return None


def _opaque_inline(state: StateInline, silent: bool) -> bool:
    """Footnote references and inline math are text in which nothing is markup."""
    match = OPAQUE.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        state.push("text", "", 0).content = match[0]
    state.pos = match.end()
    return True


def _highlight(state: StateInline, silent: bool) -> bool:
    if silent or state.src[state.pos] != "=":
        return False
    scanned = state.scanDelims(state.pos, True)
    state.push("text", "", 0).content = "=" * scanned.length
    state.pos += scanned.length
    if scanned.length == len("=="):
        state.delimiters.append(Delimiter(ord("="), 0, len(state.tokens) - 1, -1, scanned.can_open, scanned.can_close))
    return True


def _pair_highlights(state: StateInline) -> None:
    groups = [state.delimiters, *(meta["delimiters"] for meta in state.tokens_meta if meta and "delimiters" in meta)]
    for delimiters in groups:
        for opener in delimiters:
            if opener.marker != ord("=") or opener.end == -1:
                continue
            for token, suffix, nesting in ((opener.token, "open", 1), (delimiters[opener.end].token, "close", -1)):
                state.tokens[token].type = f"mark_{suffix}"
                state.tokens[token].tag = "mark"
                state.tokens[token].nesting = nesting
                state.tokens[token].content = ""


_TOKENS = _parser().disable("text_join")
_HTML = _parser()
