"""Page count, text and first page of PDF files, by PDFium."""

from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

import pypdfium2  # type: ignore[import-untyped]
from pypdfium2 import raw

from .facts import MAX_PAGES, THUMBNAIL_PIXELS, Facts, Problem
from .images import thumbnails
from .pages import Collected, collect
from .text import clean

_PASSWORD: Final = (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY)
_MOST_ENLARGED: Final = 4.0
"""A page the size of a stamp is not blown up to the size of a thumbnail."""


def pdf_facts(file: BinaryIO, media_type: str) -> Facts:
    """Pages, their text and the first one's picture; a page that cannot be read is left out."""
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        problem = Problem.PDF_ENCRYPTED if error.err_code in _PASSWORD else Problem.PDF_UNREADABLE
        return Facts(media_type, problem=problem)
    with document:
        count = len(document)
        found = collect(_texts(document, min(count, MAX_PAGES)))
        return Facts(
            media_type,
            pages=count,
            thumbnails=_first_page(document),
            text=found.pages,
            tokens=found.tokens,
            problem=_problem(found, count),
        )


def _problem(found: Collected, count: int) -> Problem | None:
    return Problem.TEXT_TOO_LONG if found.cut or count > MAX_PAGES else None


def _texts(document: pypdfium2.PdfDocument, count: int) -> Iterator[str]:
    for index in range(count):
        try:
            page = document[index]
            text_page = page.get_textpage()
        except pypdfium2.PdfiumError:
            yield ""
            continue
        yield clean(_without_hyphens(text_page.get_text_bounded()))
        text_page.close()
        page.close()


def _without_hyphens(text: str) -> str:
    """Words that a line end divided, whole again: PDFium marks such a hyphen with U+FFFE."""
    return text.replace("\ufffe\r\n", "").replace("\ufffe", "")


def _first_page(document: pypdfium2.PdfDocument) -> Mapping[int, bytes]:
    try:
        page = document[0]
        scale = min(THUMBNAIL_PIXELS[-1] / max(*page.get_size(), 1.0), _MOST_ENLARGED)
        return thumbnails(page.render(scale=scale).to_pil())
    except (pypdfium2.PdfiumError, ValueError):
        return {}
