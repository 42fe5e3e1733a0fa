"""Pure core of the documents service: 3-way merge and diff of Markdown, edits of content."""

from .diff import unified_diff
from .edits import Edit, EditError, FindAmbiguousError, FindNotFoundError, apply_edits, only_adds
from .merge import Hunk, Merge, Slice, merge, merge_edits

__all__ = [
    "Edit",
    "EditError",
    "FindAmbiguousError",
    "FindNotFoundError",
    "Hunk",
    "Merge",
    "Slice",
    "apply_edits",
    "merge",
    "merge_edits",
    "only_adds",
    "unified_diff",
]
