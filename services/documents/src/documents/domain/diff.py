"""Unified diff of two versions of a document, byte for byte."""

import re

from .matching import Change, changes

_UNTERMINATED = "\n\\ No newline at end of file"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def unified_diff(old: bytes, new: bytes, *, old_label: str, new_label: str, context: int = 3) -> str:
    r"""Return the differences as `patch` and `git apply` take them, "" if there are none.

    Lines end at `\n` only, as those programs see them: a `\r` is content. Raises `UnicodeDecodeError`.
    Source: POSIX, "diff" utility, unified format; GNU Diffutils manual for the missing final newline.
    """
    before, after = _lines(old), _lines(new)
    found = changes(before, after)
    if not found:
        return ""
    parts = [f"--- {_label(old_label)}\n+++ {_label(new_label)}\n"]
    for hunk in _hunks(found, context):
        parts += _hunk(hunk, before, after, context)
    return "".join(parts)


def _lines(content: bytes) -> list[str]:
    """Split into lines; one without an end carries the note that says so, which also makes it differ from one with."""
    lines = content.decode().split("\n")
    last = lines.pop()
    return [*lines, last + _UNTERMINATED] if last else lines


def _label(label: str) -> str:
    """Make a label safe in a header line; a tab ends a name with spaces in it."""
    safe = _CONTROL.sub(" ", label)
    return f"{safe}\t" if " " in safe else safe


def _hunks(found: list[Change], context: int) -> list[list[Change]]:
    """Gather changes whose context would overlap."""
    hunks: list[list[Change]] = []
    for change in found:
        if hunks and change.old_start - hunks[-1][-1].old_end <= 2 * context:
            hunks[-1].append(change)
        else:
            hunks.append([change])
    return hunks


def _hunk(hunk: list[Change], before: list[str], after: list[str], context: int) -> list[str]:
    first, last = hunk[0], hunk[-1]
    lead = min(context, first.old_start)
    trail = min(context, len(before) - last.old_end)
    old_range = _range(first.old_start - lead, last.old_end + trail)
    new_range = _range(first.new_start - lead, last.new_end + trail)
    parts = [f"@@ -{old_range} +{new_range} @@\n"]
    at = first.old_start - lead
    for change in hunk:
        parts.append(_prefixed(" ", before[at : change.old_start]))
        parts.append(_prefixed("-", before[change.old_start : change.old_end]))
        parts.append(_prefixed("+", after[change.new_start : change.new_end]))
        at = change.old_end
    parts.append(_prefixed(" ", before[at : at + trail]))
    return parts


def _prefixed(mark: str, lines: list[str]) -> str:
    return mark + f"\n{mark}".join(lines) + "\n" if lines else ""


def _range(start: int, end: int) -> str:
    """Return first line and count as a hunk header has them; an empty range names the line before it."""
    if end - start == 1:
        return str(end)
    return f"{start + 1 if end > start else start},{end - start}"
