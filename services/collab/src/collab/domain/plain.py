"""Plain text documents: LF and no byte order mark inside, the author's line ends outside."""

from __future__ import annotations

from itertools import accumulate, chain
from typing import Any

from pycrdt import Doc, Text

from collab.domain.markdown.align import align, edits, hunks
from collab.domain.markdown.source import BOM, dominant_eol, split_lines

ROOT = "content"
_ENDS = "\r\n"


class PlainCodec:
    """Documents of kind `text`."""

    def seed(self, doc: Doc[Any], text: str) -> None:
        """Write the text into an empty document."""
        inner = _inner(text)
        root = doc.get(ROOT, type=Text)
        with doc.transaction():
            if inner:
                root.insert(0, inner)

    def export(self, doc: Doc[Any], source: str) -> str:
        """The text with the byte order mark and, line by line, the line ends of `source`."""
        bom = BOM if source.startswith(BOM) else ""
        theirs = split_lines(source[len(bom) :])
        ours = split_lines(str(doc.get(ROOT, type=Text)))
        bare = [line.rstrip(_ENDS) for line in theirs]
        ends = dict.fromkeys(range(len(ours)), dominant_eol(theirs))
        same = align(bare, [line.rstrip(_ENDS) for line in ours])
        changed = [
            zip(range(a, b), range(c, d), strict=False)
            for a, b, c, d in hunks(same, len(bare), len(ours))
            if b - a == d - c
        ]
        for i, j in chain(same, *changed):
            ends[j] = theirs[i][len(bare[i]) :] or ends[j]
        lines = [line.rstrip(_ENDS) + (ends[at] if line[-1] in _ENDS else "") for at, line in enumerate(ours)]
        return bom + "".join(lines)

    def rewrite(self, doc: Doc[Any], old: str, new: str) -> None:
        """Give the document, which stands at `old`, the difference to `new`: of changed lines the changed words."""
        before, after = (split_lines(_inner(text)) for text in (old, new))
        offsets = [0, *accumulate(len(line.encode()) for line in before)]
        root = doc.get(ROOT, type=Text)
        changed = list(hunks(align(before, after), len(before), len(after)))
        with doc.transaction():
            for a, b, c, d in reversed(changed):
                _replace(root, offsets[a], "".join(before[a:b]), "".join(after[c:d]))


def _replace(root: Text, offset: int, old: str, new: str) -> None:
    """Change one stretch that begins at byte `offset`, from its end up."""
    for start, end, text in edits(old, new):
        first = offset + len(old[:start].encode())
        if end > start:
            del root[first : first + len(old[start:end].encode())]
        if text:
            root.insert(first, text)


def _inner(text: str) -> str:
    return text.removeprefix(BOM).replace("\r\n", "\n").replace("\r", "\n")
