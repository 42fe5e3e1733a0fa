"""Pure core of the documents service: 3-way merge, diff and edits of Markdown; places among siblings."""

from . import ladder, positions
from .diff import unified_diff
from .edits import Append, Edit, FindAmbiguousError, FindNotFoundError, Prepend, Replace, apply_edits, only_adds
from .merge import Hunk, Merge, Slice, merge, merge_edits

__all__ = [
    "Append",
    "Edit",
    "FindAmbiguousError",
    "FindNotFoundError",
    "Hunk",
    "Merge",
    "Prepend",
    "Replace",
    "Slice",
    "apply_edits",
    "ladder",
    "merge",
    "merge_edits",
    "only_adds",
    "positions",
    "unified_diff",
]
