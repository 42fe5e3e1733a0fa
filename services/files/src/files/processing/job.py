"""One job: the facts of one open file."""

from collections.abc import Callable
from typing import BinaryIO, Final

from .docx import docx_facts
from .facts import Facts
from .images import FORMATS, image_facts
from .markup import html_facts
from .media_types import DOCX
from .pdf import pdf_facts
from .text import text_facts

Job = Callable[[BinaryIO, str], Facts]
"""Of an open file and its type."""

_READERS: Final[dict[str, Job]] = {
    **dict.fromkeys(FORMATS, image_facts),
    "application/pdf": pdf_facts,
    DOCX: docx_facts,
    "text/html": html_facts,
    "application/xhtml+xml": html_facts,
    "text/markdown": text_facts,
    "text/csv": text_facts,
    "text/plain": text_facts,
}


def facts_of(file: BinaryIO, media_type: str) -> Facts:
    """Facts of a file of this type; none for kinds that are only kept."""
    read = _READERS.get(media_type)
    return read(file, media_type) if read else Facts(media_type)
