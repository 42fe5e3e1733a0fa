"""Applies a unified diff strictly: every context and removed line must be where the diff says it is."""

import re

HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
NO_NEWLINE = b"\\ No newline at end of file"


class PatchError(ValueError):
    """The diff does not fit the text."""


def apply_patch(old: bytes, patch: bytes) -> bytes:
    """The text the diff leads to; lines end at LF and nowhere else. Raises `PatchError`."""
    lines = _lines(old)
    rows = patch.split(b"\n")
    result: list[bytes] = []
    at = row = 0
    while row < len(rows):
        head = HUNK.match(rows[row])
        row += 1
        if head is None:
            continue
        start, old_count, _, new_count = (1 if part is None else int(part) for part in head.groups())
        begin = start - 1 if old_count else start
        result += lines[at:begin]
        at = begin
        removed, added, row = _hunk(rows, row, old_count, new_count)
        if lines[at : at + old_count] != removed:
            raise PatchError(f"lines {at + 1} to {at + old_count} are not what the diff expects")
        result += added
        at += old_count
    return b"".join(result + lines[at:])


def _hunk(rows: list[bytes], row: int, old_count: int, new_count: int) -> tuple[list[bytes], list[bytes], int]:
    """Lines before and after one hunk, and the row behind it."""
    removed: list[bytes] = []
    added: list[bytes] = []
    while len(removed) < old_count or len(added) < new_count:
        if row >= len(rows):
            raise PatchError("the diff ends inside a hunk")
        mark, text = rows[row][:1], rows[row][1:] + b"\n"
        row += 1
        if row < len(rows) and rows[row] == NO_NEWLINE:
            text = text[:-1]
            row += 1
        if mark not in (b" ", b"-", b"+"):
            raise PatchError(f"row {row} of the diff is neither context nor change")
        if mark != b"+":
            removed.append(text)
        if mark != b"-":
            added.append(text)
    return removed, added, row


def _lines(text: bytes) -> list[bytes]:
    """Lines with their LF; a last one may lack it."""
    lines = [line + b"\n" for line in text.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]
