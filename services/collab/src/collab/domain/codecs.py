"""What a document's kind means: how its Markdown gets into the live document and out again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pycrdt import Doc

from collab.domain.markdown import MarkdownCodec
from collab.domain.plain import PlainCodec

CONVERTER_VERSION = 1
SCHEMA_VERSION = 1


class Codec(Protocol):
    """Between Markdown at rest and a live document; pure, text keeps its line ends and byte order mark."""

    def seed(self, doc: Doc[Any], text: str) -> None:
        """Write `text` into an empty document, in a transaction of its own."""

    def export(self, doc: Doc[Any], source: str) -> str:
        """The Markdown of the live document; what is unchanged since `source` keeps its bytes."""

    def rewrite(self, doc: Doc[Any], old: str, new: str) -> None:
        """Give the document, which stands at `old`, the difference to `new`, in one transaction."""


CODECS: Mapping[str, Codec] = {"prosemirror": MarkdownCodec(), "text": PlainCodec()}
