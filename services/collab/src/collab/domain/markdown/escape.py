"""What must be escaped so that text stays text; light where Markdown lets us, everything where it does not."""

from __future__ import annotations

import re
from collections.abc import Container

from markdown_it.common.utils import MD_TRIM_CHARS, isValidEntityCode, normalizeReference

from collab.domain.markdown.syntax import FOOTNOTE, OPAQUE

PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
TRIMMED = frozenset(char for char in MD_TRIM_CHARS if isValidEntityCode(ord(char)))

_SPECIAL = re.compile(r"[\\`*_\[\]<&]|~{2,}|={2,}")
_LINKISH = re.compile(r"\[((?:[^\[\]\\]|\\.)*)\]([(\[]?)")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_LINE_START = (
    re.compile(r"(?P<at>)#{1,6}(?:[ \t]|$)"),
    re.compile(r"(?P<at>)>"),
    re.compile(r"(?P<at>)[-+*](?:[ \t]|$)"),
    re.compile(r"\d{1,9}(?P<at>)[.)](?:[ \t]|$)"),
    re.compile(r"(?P<at>)([-*_])(?:[ \t]*\2){2,}[ \t]*$"),
    re.compile(r"(?P<at>)(?:~~~|\$\$)"),
    re.compile(r"(?P<at>)" + FOOTNOTE.pattern),
)
_FIRST_LINE = re.compile(r"\[(?:[^\[\]\\]|\\.)*\](?P<at>):")
_LATER_LINE = re.compile(r"(?P<at>)(?:[:~][ \t]+\S|(?:=+|-+|\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?)[ \t]*$)")


def entity(char: str) -> str:
    """The character as an entity."""
    return "&nbsp;" if char == "\xa0" else f"&#{ord(char)};"


def text(value: str, *, full: bool, in_link: bool, references: Container[str]) -> str:
    """`value` in the middle of a paragraph."""
    if full:
        return "".join("\\" + char if char in PUNCTUATION else char for char in value)
    out: list[str] = []
    end = 0
    for opaque in OPAQUE.finditer(value):
        out += (_light(value[end : opaque.start()], in_link, references), opaque[0])
        end = opaque.end()
    return "".join([*out, _light(value[end:], in_link, references)])


def _light(value: str, in_link: bool, references: Container[str]) -> str:
    def escaped(match: re.Match[str]) -> str:
        special = _special(value, match, in_link, references)
        return "".join(f"\\{char}" for char in match[0]) if special else match[0]

    return _SPECIAL.sub(escaped, value)


def _special(value: str, match: re.Match[str], in_link: bool, references: Container[str]) -> bool:
    """Whether the characters matched would be read as markup."""
    at = match.start()
    before, after = value[at - 1 : at], value[match.end() : match.end() + 1]
    spaced = before.isspace() and after.isspace()
    match match[0][0]:
        case "\\":
            special = not after or after in PUNCTUATION
        case "*" | "~" | "=":
            special = not spaced
        case "_":
            special = not spaced and not (before.isalnum() and after.isalnum())
        case "<":
            special = after.isalpha() or after in {"/", "!", "?"}
        case "&":
            special = _ENTITY.match(value, at) is not None
        case "[":
            special = in_link or _links(value, at, references)
        case "]":
            special = in_link
        case _:
            special = True
    return special


def _links(value: str, at: int, references: Container[str]) -> bool:
    match = _LINKISH.match(value, at)
    return match is not None and (bool(match[2]) or normalizeReference(match[1]) in references)


def lines(written: str) -> str:
    """The written paragraph with the starts of its lines made safe."""
    return "\n".join(_line(line, first=number == 0) for number, line in enumerate(written.split("\n")))


def _line(line: str, *, first: bool) -> str:
    for pattern in (*_LINE_START, _FIRST_LINE if first else _LATER_LINE):
        if match := pattern.match(line):
            at = match.start("at")
            return f"{line[:at]}\\{line[at:]}"
    return line


def info(value: str) -> str:
    """A fence's info string."""
    return re.sub(r"[\\&]", r"\\\g<0>", value)
