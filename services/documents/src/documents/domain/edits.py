"""Edits of a content as clients send them: find and replace, append, prepend."""

from collections.abc import Mapping, Sequence

Edit = Mapping[str, str]
"""`{find, replace}`, `{append}` or `{prepend}`."""


class EditError(ValueError):
    """An edit does not fit the text it is applied to."""


class FindNotFoundError(EditError):
    """The text to replace does not occur."""


class FindAmbiguousError(EditError):
    """The text to replace occurs more than once."""


def only_adds(edits: Sequence[Edit]) -> bool:
    """Whether these edits fit every text: additions at the ends alone."""
    return all("find" not in edit for edit in edits)


def apply_edits(text: str, edits: Sequence[Edit]) -> str:
    """Apply edits in order, each to the outcome of the one before; texts are joined exactly as given.

    Raises `FindNotFoundError` and `FindAmbiguousError`, which name the edit by its position from 1.
    """
    for position, edit in enumerate(edits, 1):
        if "append" in edit:
            text = text + edit["append"]
        elif "prepend" in edit:
            text = edit["prepend"] + text
        else:
            text = _replace_once(text, edit["find"], edit["replace"], position)
    return text


def _replace_once(text: str, find: str, replace: str, position: int) -> str:
    at = text.find(find)
    if at < 0:
        raise FindNotFoundError(f"edit {position}: the text to find does not occur")
    if text.find(find, at + 1) >= 0:
        raise FindAmbiguousError(f"edit {position}: the text to find occurs more than once")
    return text[:at] + replace + text[at + len(find) :]
