"""Pure core of the documents service: 3-way merge and diff of Markdown, edits of content."""

from .merge import Hunk, Merge, Slice, merge, merge_edits

__all__ = ["Hunk", "Merge", "Slice", "merge", "merge_edits"]
