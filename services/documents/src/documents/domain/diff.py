"""Unified diffs that `patch` and `git apply` accept, exact to the byte."""

from collections.abc import Iterator, Sequence

from .matching import Change, changes

NO_END = "\\ No newline at end of file\n"


def unified_diff(old: bytes, new: bytes, *, old_label: str, new_label: str, context: int = 3) -> str:
    r"""Difference between two UTF-8 texts; "" if there is none.

    Lines end with `\n` alone, as `patch` sees them; a `\r` before it is part of the line. Raises `UnicodeDecodeError`.
    """
    old_lines, new_lines = _lines(old), _lines(new)
    found = changes(old_lines, new_lines)
    if not found:
        return ""
    parts = [f"--- {old_label}\n+++ {new_label}\n"]
    for group in _grouped(found, context):
        parts += _hunk(group, old_lines, new_lines, context)
    return "".join(parts)


def _lines(content: bytes) -> list[str]:
    lines = [line + "\n" for line in content.decode().split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _grouped(found: Sequence[Change], context: int) -> Iterator[list[Change]]:
    group = [found[0]]
    for change in found[1:]:
        if change.old_start - group[-1].old_end > 2 * context:
            yield group
            group = []
        group.append(change)
    yield group


def _hunk(group: Sequence[Change], old: Sequence[str], new: Sequence[str], context: int) -> Iterator[str]:
    first, last = group[0], group[-1]
    before = min(context, first.old_start)
    after = min(context, len(old) - last.old_end)
    old_start, old_end = first.old_start - before, last.old_end + after
    new_start, new_end = first.new_start - before, last.new_end + after
    yield f"@@ -{_range(old_start, old_end)} +{_range(new_start, new_end)} @@\n"
    at = old_start
    for change in group:
        yield from _marked(" ", old[at : change.old_start])
        yield from _marked("-", old[change.old_start : change.old_end])
        yield from _marked("+", new[change.new_start : change.new_end])
        at = change.old_end
    yield from _marked(" ", old[at:old_end])


def _marked(mark: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield mark + (line if line.endswith("\n") else line + "\n" + NO_END)


def _range(start: int, end: int) -> str:
    """Line numbers as GNU diff writes them: an empty range names the line before it."""
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"
