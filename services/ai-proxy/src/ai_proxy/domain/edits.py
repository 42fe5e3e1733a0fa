"""Edits a model proposes: read from its answer, and checked against the text they are for.

An edit is what `PATCH /v1/documents/{id}/content` takes; each applies to the outcome of the one before, exactly once.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

HUNK: Final = re.compile(
    r"^<{5,9} FIND[ \t]*\r?\n(?P<find>.*?)\r?\n^={5,9}[ \t]*\r?\n(?P<replace>.*?)^>{5,9} REPLACE[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
WIDEN: Final = 40
"""Characters a text to replace is made longer by, in both directions, until it occurs but once."""


class EditInvalidError(ValueError):
    """There is no edit, or one that does not apply exactly once."""


def read_hunks(answer: str) -> list[dict[str, str]]:
    """Find/replace pairs in a model's answer; none is an answer too: nothing is to be changed."""
    return [
        {"find": match["find"], "replace": match["replace"].removesuffix("\n").removesuffix("\r")}
        for match in HUNK.finditer(answer)
    ]


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


def replacing(text: str, at: int, length: int, replacement: str) -> dict[str, Any]:
    """The edit that replaces `length` characters at `at`, with as much around them as makes it apply exactly once."""
    start, end = at, at + length
    while _occurs_again(text, text[start:end]):
        start, end = max(start - WIDEN, 0), min(end + WIDEN, len(text))
    return {"find": text[start:end], "replace": text[start:at] + replacement + text[at + length : end]}


def _occurs_again(text: str, find: str) -> bool:
    return text.find(find, text.find(find) + 1) >= 0
