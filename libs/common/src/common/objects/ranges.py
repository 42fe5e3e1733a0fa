"""Single byte ranges and validators of a download (RFC 9110 sections 13 and 14)."""

import re
from typing import Final

from common.objects.errors import RangeUnsatisfiableError

_ONE_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def wanted(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; None: all of it, also for what we do not understand (several ranges).

    Raises `RangeUnsatisfiableError`.
    """
    found = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1 if last else size, size)
        if last and int(last) < int(first):
            return None
    if start >= size:
        raise RangeUnsatisfiableError(size)
    return start, stop


def not_modified(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this one already (weak comparison)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]
