"""Edits of content by those who do not send the whole document: replace, append, prepend."""

from collections.abc import Sequence
from dataclasses import dataclass

from .lines import BOM


class FindNotFoundError(ValueError):
    """The text to replace does not occur."""

    def __init__(self, find: str) -> None:
        super().__init__("The text to replace does not occur in the document")
        self.find = find


class FindAmbiguousError(ValueError):
    """The text to replace occurs more than once."""

    def __init__(self, find: str, count: int) -> None:
        super().__init__(f"The text to replace occurs {count} times in the document")
        self.find = find
        self.count = count


@dataclass(frozen=True, slots=True)
class Replace:
    """Put `replace` where `find` stands; `find` must occur exactly once."""

    find: str
    replace: str


@dataclass(frozen=True, slots=True)
class Append:
    """Add text at the very end."""

    text: str


@dataclass(frozen=True, slots=True)
class Prepend:
    """Add text at the very start, after a byte order mark."""

    text: str


Edit = Replace | Append | Prepend


def apply_edits(text: str, edits: Sequence[Edit]) -> str:
    """Apply edits in order, each to the outcome of the one before.

    Concatenation is exact: no newline is added, so text appended to an unterminated line continues that line.
    Raises `FindNotFoundError`, `FindAmbiguousError`.
    """
    for edit in edits:
        text = _applied(text, edit)
    return text


def only_adds(edits: Sequence[Edit]) -> bool:
    """Tell whether edits mean the same on any version, so that a stale base needs no merge."""
    return all(isinstance(edit, Append | Prepend) for edit in edits)


def _applied(text: str, edit: Edit) -> str:
    match edit:
        case Append(added):
            return text + added
        case Prepend(added):
            body = text.removeprefix(BOM)
            return text[: len(text) - len(body)] + added + body
        case Replace(find, replacement):
            at = _place(text, find)
            return text[:at] + replacement + text[at + len(find) :]


def _place(text: str, find: str) -> int:
    at = text.find(find) if find else -1
    if at < 0:
        raise FindNotFoundError(find)
    if text.find(find, at + 1) >= 0:
        raise FindAmbiguousError(find, max(text.count(find), 2))
    return at
