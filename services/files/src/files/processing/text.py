"""Text files: plain, Markdown, CSV as they are, decoded; their charset found without reading it all."""

import codecs
import re
from dataclasses import replace
from typing import BinaryIO, Final

from charset_normalizer import from_bytes

from .facts import MAX_CHARACTERS, Facts, Problem
from .pages import collect, sections

MAX_BYTES: Final = 4 * MAX_CHARACTERS
"""Read of one file: no encoding needs more for the text that is kept."""
_SAMPLE_BYTES: Final = 32 * 1024
"""Looked at to guess a charset."""
_ASCII: Final = bytes(range(128))
_FEW: Final = 64
_SMALL_SHARE: Final = 0.2
"""Fewer bytes beyond ASCII than both are no ground to guess on: letters of a western language, then."""
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHARSETS: Final = (
    "cp1252",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "iso8859_2",
    "iso8859_15",
    "koi8_r",
    "shift_jis",
    "euc_jp",
    "gb18030",
    "big5",
    "euc_kr",
)
"""Guessed from; Python's codecs for them are loaded here, since a job can open no module."""
for _charset in (*_CHARSETS, "ascii", "latin_1", "utf_16_le", "utf_16_be", "utf_32_le", "utf_32_be"):
    codecs.lookup(_charset)
    __import__(f"encodings.{_charset}")  # charset_normalizer asks for the module itself
_UNWANTED: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff\ufeff\ufffe\uffff]")
"""Control and other characters that are no text and that neither PostgreSQL nor JSON takes."""


def text_facts(file: BinaryIO, media_type: str) -> Facts:
    """The text of the file in sections (`sections`)."""
    data = file.read(MAX_BYTES + 1)
    return of_text(media_type, clean(decode(data[:MAX_BYTES])), cut=len(data) > MAX_BYTES)


def of_text(media_type: str, text: str, *, cut: bool = False) -> Facts:
    """Facts about a text without pages, `cut` when the file has more than was read of it."""
    found = collect(sections(text))
    facts = Facts(media_type, text=found.pages, tokens=found.tokens)
    return replace(facts, problem=Problem.TEXT_TOO_LONG) if cut or found.cut else facts


def decode(data: bytes, stated: str | None = None) -> str:
    """The text by its byte order mark, else as UTF-8, else in the stated charset, else in the likeliest.

    Never fails: what the charset has no character for becomes U+FFFD.
    """
    for mark, charset in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(charset, "replace")
    if _is_utf8(data):
        return data.decode("utf-8", "ignore")  # at most a character cut in two at the end
    return data.decode(_known(stated) or _likeliest(data), "replace")


def clean(text: str) -> str:
    """The text with line feeds for line ends and without control characters."""
    return _UNWANTED.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n"))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


def _known(stated: str | None) -> str | None:
    try:
        name = codecs.lookup(stated or "").name.replace("-", "_")
    except (LookupError, ValueError):
        return None
    return name if name in _CHARSETS else "cp1252" if name in {"iso8859_1", "ascii"} else None


def _likeliest(data: bytes) -> str:
    sample = data[:_SAMPLE_BYTES]
    beyond_ascii = len(sample.translate(None, _ASCII))
    if beyond_ascii < _FEW and beyond_ascii < len(sample) * _SMALL_SHARE:
        return "cp1252"
    best = from_bytes(sample, cp_isolation=list(_CHARSETS), enable_fallback=False).best()
    return best.encoding if best else "cp1252"
