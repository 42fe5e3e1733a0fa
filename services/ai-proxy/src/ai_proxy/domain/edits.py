"""Edits a model proposes: read from its answer, and checked against the text they are for.

An edit is what `PATCH /v1/documents/{id}/content` takes; each applies to the outcome of the one before, exactly once.
"""

import re
from collections.abc import Sequence
from typing import Final

MARK: Final = re.compile(r"(?:<{5,9} (FIND)|(={7})|>{5,9} (REPLACE))[ \t]*\r?")
"""A line between the parts of a hunk. Of `=` exactly as many as were asked for: other numbers underline headings."""
WIDEN: Final = 40
"""Characters a text to replace is made longer by at first, in both directions, until it occurs but once."""


class EditInvalidError(ValueError):
    """There is no edit, or one that does not apply exactly once."""


def read_hunks(answer: str) -> list[dict[str, str]]:
    """Find/replace pairs in a model's answer; none is an answer too: nothing is to be changed.

    Raises `EditInvalidError` if a hunk is not whole, or has a line in it that could end one of its parts.
    """
    lines = answer.split("\n")
    marks = [(at, mark.lastindex) for at, line in enumerate(lines) if (mark := MARK.fullmatch(line))]
    if [kind for _, kind in marks] != [1, 2, 3] * (len(marks) // 3):
        raise EditInvalidError("the edits are not clear")
    places = [at for at, _ in marks]
    return [
        {"find": _joined(lines[begin + 1 : middle]), "replace": _joined(lines[middle + 1 : end])}
        for begin, middle, end in zip(places[::3], places[1::3], places[2::3], strict=True)
    ]


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines).removesuffix("\r")


def check(text: str, edits: Sequence[dict[str, str]]) -> str:
    """The text after the edits. Raises `EditInvalidError` unless each applies exactly once."""
    for edit in edits:
        if "append" in edit:
            text += edit["append"]
            continue
        at = text.find(edit["find"]) if edit["find"] else -1
        if at < 0 or text.find(edit["find"], at + 1) >= 0:
            raise EditInvalidError("a text to replace does not occur exactly once")
        text = text[:at] + edit["replace"] + text[at + len(edit["find"]) :]
    return text


def place(text: str, selection: str, start: int | None) -> int:
    """Where the selection begins. Raises `EditInvalidError` if it is not there, or which one it is is not clear."""
    if start is not None and text.startswith(selection, start):
        return start
    at = text.find(selection)
    if at < 0:
        raise EditInvalidError("the selection does not occur in the document")
    if text.find(selection, at + 1) >= 0:
        raise EditInvalidError("the selection occurs more than once: say where it begins")
    return at


def replacing(text: str, at: int, length: int, replacement: str) -> dict[str, str]:
    """The edit that replaces `length` characters at `at`, with as much around them as makes it apply exactly once."""
    start, end, more = at, at + length, WIDEN
    while _occurs_again(text, text[start:end]):
        start, end, more = max(start - more, 0), min(end + more, len(text)), more * 2
    return {"find": text[start:end], "replace": text[start:at] + replacement + text[at + length : end]}


def _occurs_again(text: str, find: str) -> bool:
    return text.find(find, text.find(find) + 1) >= 0
