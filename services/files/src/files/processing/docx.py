"""Text of Word documents (ECMA-376, WordprocessingML), read as a stream: paragraphs, headings, tables, page marks."""

import codecs
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import BinaryIO, Final
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile, ZipInfo

from .facts import MAX_CHARACTERS, MAX_PAGES, Facts, Problem
from .pages import collect
from .text import clean, of_text

MAX_ENTRIES: Final = 5_000
MAX_DIRECTORY_BYTES: Final = 2 * 1024 * 1024
"""Of the central directory, which is read as a whole."""
MAX_PART_BYTES: Final = 64 * 1024 * 1024
"""Unpacked, of the one part that holds the text."""
MAX_RATIO: Final = 200
"""Unpacked to packed, beyond the first `_RATIO_FROM_BYTES`: a long document of prose has 10, of tables 60."""
_RATIO_FROM_BYTES: Final = 4 * 1024 * 1024
_CHUNK: Final = 64 * 1024
_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_COMMENT_BYTES: Final = 65_535
_PARTS: Final = ("word/document.xml", "word/styles.xml")
_NAMESPACES: Final = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
)
"""Transitional and strict."""
_FALLBACK: Final = "http://schemas.openxmlformats.org/markup-compatibility/2006 Fallback"
_OFF: Final = ("0", "false", "off")
_HEADING: Final = re.compile(r"heading ([1-6])", re.IGNORECASE)

codecs.lookup("cp437")  # of entry names; a job can open no module


class _TooLargeError(Exception):
    """A limit of this module is passed."""


class _DoctypeError(Exception):
    """Office files have no DTD; entities are only ever an attack."""


_UNREADABLE: Final = (BadZipFile, KeyError, expat.ExpatError, zlib.error, EOFError, NotImplementedError)
_DAMAGED: Final = (*_UNREADABLE, _DoctypeError, RuntimeError, OSError, ValueError)
"""RuntimeError: an encrypted entry."""


def docx_facts(file: BinaryIO, media_type: str) -> Facts:
    """Text by pages where Word or the author marked any, else in sections."""
    try:
        body = _body(file)
    except _TooLargeError:
        return Facts(media_type, problem=Problem.DOCX_TOO_LARGE)
    except _DAMAGED:
        return Facts(media_type, problem=Problem.DOCX_UNREADABLE)
    if len(body.pages) == 1:
        return of_text(media_type, clean(body.pages[0]), cut=body.full)
    found = collect(map(clean, body.pages[:MAX_PAGES]))
    facts = Facts(media_type, pages=len(body.pages), text=found.pages, tokens=found.tokens)
    cut = body.full or found.cut or len(body.pages) > MAX_PAGES
    return replace(facts, problem=Problem.TEXT_TOO_LONG) if cut else facts


def _body(file: BinaryIO) -> "_Body":
    _check_directory(file)
    with ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES or any(entry.file_size > MAX_PART_BYTES for entry in _named(entries)):
            raise _TooLargeError
        styles = _Styles()
        if _PARTS[1] in archive.namelist():
            _parse(_unpacked(archive, _PARTS[1]), styles.started, None, None)
        body = _Body(styles.levels)
        _parse(_unpacked(archive, _PARTS[0]), body.started, body.ended, body.characters, lambda: body.full)
        body.finish()
        return body


def _named(entries: list[ZipInfo]) -> Iterator[ZipInfo]:
    return (entry for entry in entries if entry.filename in _PARTS)


def _check_directory(file: BinaryIO) -> None:
    """Refuse a directory that `ZipFile` would read whole into memory; the size alone counts, the count may lie."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_BYTES - _COMMENT_BYTES))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise BadZipFile("no end of central directory")
    if int.from_bytes(tail[at + 12 : at + 16], "little") > MAX_DIRECTORY_BYTES:  # that of a ZIP64 file is 2**32 - 1
        raise _TooLargeError
    file.seek(0)


def _unpacked(archive: ZipFile, name: str) -> Iterator[bytes]:
    """The part in chunks; what really comes out is counted, whatever the directory says."""
    most = max(_RATIO_FROM_BYTES, archive.getinfo(name).compress_size * MAX_RATIO)
    count = 0
    with archive.open(name) as part:
        while chunk := part.read(_CHUNK):
            count += len(chunk)
            if count > min(most, MAX_PART_BYTES):
                raise _TooLargeError
            yield chunk


def _parse(
    chunks: Iterator[bytes],
    started: Callable[[str, dict[str, str]], None],
    ended: Callable[[str], None] | None,
    characters: Callable[[str], None] | None,
    enough: Callable[[], bool] = lambda: False,
) -> None:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = started
    parser.EndElementHandler = ended
    parser.CharacterDataHandler = characters
    for chunk in chunks:
        parser.Parse(chunk)
        if enough():
            return
    parser.Parse(b"", True)


def _refuse_doctype(*_: object) -> None:
    raise _DoctypeError


def _word(name: str) -> str:
    """Name of a WordprocessingML element or attribute, empty for any other."""
    namespace, _, local = name.rpartition(" ")
    return local if namespace in _NAMESPACES else ""


def _value(attributes: dict[str, str], wanted: str = "val") -> str:
    return next((value for name, value in attributes.items() if _word(name) == wanted), "")


class _Styles:
    """Which style is a heading: its id is in the author's language, its name never."""

    def __init__(self) -> None:
        self.levels: dict[str, int] = {}
        self._id = ""

    def started(self, name: str, attributes: dict[str, str]) -> None:
        """Take note of a style."""
        word = _word(name)
        if word == "style":
            self._id = _value(attributes, "styleId")
        elif word == "name" and (heading := _HEADING.fullmatch(_value(attributes))):
            self.levels[self._id] = int(heading[1])


class _Body:
    """Builds the pages' text from the events of the parser."""

    def __init__(self, levels: dict[str, int]) -> None:
        self.pages: list[str] = []
        self.full = False
        self._levels = levels
        self._lines: list[str] = []
        self._line: list[str] = []
        self._rows: list[list[str]] = []
        """Rows in progress, the innermost table's last."""
        self._prefix = ""
        self._in_text = False
        self._skipped = 0
        self._length = 0
        self._breaks = 0
        """Page breaks within a table row, made after it."""
        self._fresh = True
        """Nothing on this page yet."""

    def started(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self._skipped += name == _FALLBACK or self._skipped > 0  # the choice beside it holds the same text
        if self._skipped:
            return
        word = _word(name)
        if word == "t":
            self._in_text = True
        elif word in {"tab", "br", "cr", "noBreakHyphen", "lastRenderedPageBreak", "pageBreakBefore"}:
            self._mark(word, attributes)
        elif word == "pStyle":
            self._prefix = "#" * self._levels.get(_value(attributes), 0)
        elif word == "tr":
            self._rows.append([])
        elif word == "tc" and self._rows:
            self._rows[-1].append("")

    def ended(self, name: str) -> None:
        """An element ends."""
        if self._skipped:
            self._skipped -= 1
            return
        word = _word(name)
        if word == "t":
            self._in_text = False
        elif word == "p":
            self._end_paragraph()
        elif word == "tr" and self._rows:
            self._end_row()

    def characters(self, text: str) -> None:
        """Text within an element."""
        if self._in_text and not self._skipped:
            self._add(text)
            self._fresh = False

    def finish(self) -> None:
        """The last page."""
        self._end_paragraph()
        self.pages.append("\n".join(self._lines))

    def _mark(self, word: str, attributes: dict[str, str]) -> None:
        explicit = word == "br" and _value(attributes, "type") == "page"
        implicit = word in {"lastRenderedPageBreak", "pageBreakBefore"} and _value(attributes) not in _OFF
        if explicit or (implicit and not self._fresh):
            self._break()  # the one Word rendered for an explicit break is no second
        elif word == "tab" and not attributes:  # with some it is a tab stop of the paragraph
            self._add("\t")
        elif word == "noBreakHyphen":
            self._add("-")
        elif word in {"br", "cr"}:
            self._add("\n")

    def _add(self, text: str) -> None:
        self._line.append(text)
        self._length += len(text)
        self.full = self._length > MAX_CHARACTERS

    def _break(self) -> None:
        self._fresh = True
        if self._rows:
            self._breaks += 1
            return
        if self._line:
            self._lines.append(self._taken())
        self.pages.append("\n".join(self._lines))
        self._lines = []

    def _taken(self) -> str:
        text, self._line = "".join(self._line), []
        return f"{self._prefix} {text}" if self._prefix and text.strip() else text

    def _end_paragraph(self) -> None:
        text = self._taken()
        self._prefix = ""
        if not self._rows:
            self._lines.append(text)
        elif self._rows[-1] and text.strip():
            cell = self._rows[-1]
            cell[-1] = f"{cell[-1]} {_flat(text)}".strip()

    def _end_row(self) -> None:
        row = "\t".join(self._rows.pop())
        if self._rows:  # a table in a cell
            if self._rows[-1] and row.strip():
                self._rows[-1][-1] = f"{self._rows[-1][-1]} {_flat(row)}".strip()
            return
        self._lines.append(row)
        breaks, self._breaks = self._breaks, 0
        for _ in range(breaks):
            self._break()
        self._fresh = breaks > 0


def _flat(text: str) -> str:
    return " ".join(text.split())
