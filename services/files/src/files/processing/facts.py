"""What processing finds out about a file, and how a job tells its parent."""

import json
import struct
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final

THUMBNAIL_PIXELS: Final = (256, 1024)
"""Longest sides of the thumbnails, in pixels."""
MAX_CHARACTERS: Final = 4_000_000
"""Of text taken from one file, about a million tokens of English; the rest is left and said to be missing."""
MAX_PAGES: Final = 2_000
"""Of text taken from one file."""

EXIT_CODE: Final = struct.Struct("=i")
"""How the end of a job is told."""
OUT_OF_MEMORY: Final = 77
"""Exit code of a job whose memory was at its limit."""
FAILED: Final = 78
"""Exit code of a job that raised; what it raised is in the place of its facts."""


class Problem(StrEnum):
    """Why facts are missing; stable codes of the API."""

    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_UNREADABLE = "image_unreadable"
    PDF_ENCRYPTED = "pdf_encrypted"
    PDF_UNREADABLE = "pdf_unreadable"
    DOCX_TOO_LARGE = "docx_too_large"
    DOCX_UNREADABLE = "docx_unreadable"
    TEXT_UNREADABLE = "text_unreadable"
    TEXT_TOO_LONG = "text_too_long"
    """The text ends before the file does."""
    FAILED = "processing_failed"
    TIMED_OUT = "processing_timed_out"
    OUT_OF_MEMORY = "processing_out_of_memory"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a document that has pages, else a section of its text; this is what is cited."""

    number: int
    """From 1; gaps are pages without text."""
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a file; None where it has no such thing or `problem` says why not."""

    __pydantic_config__: ClassVar = {"val_json_bytes": "base64", "extra": "forbid"}
    """How the service reads what `encode` wrote."""

    media_type: str
    width: int | None = None
    """Pixels, as shown: after the EXIF orientation."""
    height: int | None = None
    pages: int | None = None
    """None for a text without pages, whose `text` is cut in sections."""
    thumbnails: Mapping[int, bytes] = field(default_factory=dict)
    """Longest side in pixels (one of `THUMBNAIL_PIXELS`; the smaller one only for an image it holds) -> WebP."""
    text: Sequence[Page] | None = None
    tokens: int | None = None
    problem: Problem | None = None


def encode(facts: Facts) -> bytes:
    """The facts as JSON, bytes in base64: nothing a hostile job could write runs in whoever reads it."""
    text = (
        None if facts.text is None else [{"number": p.number, "text": p.text, "tokens": p.tokens} for p in facts.text]
    )
    members = {
        "media_type": facts.media_type,
        "width": facts.width,
        "height": facts.height,
        "pages": facts.pages,
        "thumbnails": {pixels: b64encode(image).decode() for pixels, image in facts.thumbnails.items()},
        "text": text,
        "tokens": facts.tokens,
        "problem": facts.problem,
    }
    return json.dumps(members, ensure_ascii=False).encode()
