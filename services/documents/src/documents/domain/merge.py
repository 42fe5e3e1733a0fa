"""3-way merge of Markdown: lines first, words where both sides changed the same prose, else a conflict.

A line is its text and its end (`\n`, `\r\n`, lone `\r`), merged apart; byte order mark and final newline are tokens of
the document. Nothing is normalised: every byte of a result was written by somebody, save the end of a line that was
last and no longer is.
"""

WORD_CAP = 4_000
"""Tokens up to which a region is merged by words; a larger one is a conflict."""

_BOM = "\ufeff"
