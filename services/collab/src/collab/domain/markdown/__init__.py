"""Markdown and TipTap's live tree: seeding, exporting with the author's bytes, rewriting."""

from __future__ import annotations

from typing import Any

from pycrdt import Doc, XmlFragment

from collab.domain.markdown.export import export
from collab.domain.markdown.fragment import insert_all, read
from collab.domain.markdown.patch import patch_children
from collab.domain.markdown.schema import SchemaError, check
from collab.domain.markdown.source import Source, parse

__all__ = ["MarkdownCodec", "SchemaError", "Source", "check", "parse"]

ROOT = "default"


class MarkdownCodec:
    """Documents of kind `prosemirror`; wherever Markdown is taken, a parsed `Source` saves parsing it again."""

    def seed(self, doc: Doc[Any], text: str | Source) -> None:
        """Write the text into an empty document; the same text and client id give the same update.

        Raises:
            SchemaError: never for text, unless the reader is wrong: nothing has been written then.
        """
        nodes = [block.node for block in _source(text).blocks]
        check(nodes)
        root = doc.get(ROOT, type=XmlFragment)
        with doc.transaction():
            insert_all(root, 0, nodes)

    def export(self, doc: Doc[Any], source: str | Source) -> str:
        """The document as Markdown, with the bytes of `source` for all blocks that are in it unchanged."""
        root = doc.get(ROOT, type=XmlFragment)
        with doc.transaction():
            nodes = [live.node for live in read(root)]
        return export(nodes, _source(source))

    def rewrite(self, doc: Doc[Any], old: str | Source, new: str | Source) -> None:
        """Give the document, which stands at `old`, the difference from `old` to `new`, in one transaction.

        Raises:
            SchemaError: as for `seed`.
        """
        before, after = ([block.node for block in _source(text).blocks] for text in (old, new))
        check(after)
        root = doc.get(ROOT, type=XmlFragment)
        with doc.transaction():
            patch_children(root, read(root), before, after)


def _source(text: str | Source) -> Source:
    return text if isinstance(text, Source) else parse(text)
