"""The conflict ladder: what becomes of an operation that was made on a state others may have changed since."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Step(StrEnum):
    """What to do with a text that comes from a device."""

    NOTHING = "nothing"
    """It says what is so already, or what was so before others went on."""
    REPLACE = "replace"
    MERGE = "merge"
    """Merge with what came since; if that is no clean merge, copy."""
    COPY = "copy"
    """Keep it as a document of its own: nobody knows what it was made from."""


def step(current: str, proposed: str, base: str | None) -> Step:
    """Decide by the hashes of the current text, the proposed one and the one it was made from (None: unknown).

    Texts count, not versions: a text that was changed and changed back is the same text.
    """
    if proposed == current:
        return Step.NOTHING
    if base is None:
        return Step.COPY
    if proposed == base:
        return Step.NOTHING
    return Step.REPLACE if base == current else Step.MERGE


class Known(NamedTuple):
    """A text that may be the one an operation was made from, and the version it is known as, if it is one."""

    hash: str
    version: int | None


def base_of(base_version: int, base_hash: str | None, known: Iterable[Known]) -> Known | None:
    """The text an update was made from: that of the version it names, if its hash agrees, else any with that hash."""
    found = list(known)
    named = max((one for one in found if one.version and one.version <= base_version), default=None, key=_version)
    if named and base_hash in (None, named.hash):
        return named
    return next((one for one in found if one.hash == base_hash), None)


def _version(known: Known) -> int:
    return known.version or 0


def deletes(content_version: int, base_version: int | None) -> bool:
    """Whether a deletion takes place: an edit its author had not seen wins over it."""
    return base_version is None or content_version <= base_version
