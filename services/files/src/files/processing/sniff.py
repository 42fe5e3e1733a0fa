"""The real type of a file by its first bytes; the name only tells kinds of text and of containers apart.

Signatures follow the WHATWG MIME Sniffing standard where it has one, else the format's own specification.
"""

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final

from .media_types import BY_EXTENSION, INLINE, OCTET_STREAM, PLAIN, TEXTUAL, ZIPPED, is_compatible, is_textual, normal

HEAD_BYTES: Final = 8192
"""So much of a file's beginning is enough for `media_type_of`."""

_STARTS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"%PDF-", "application/pdf"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"\x7fELF", "application/x-executable"),
    (b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\xce\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\xca\xfe\xba\xbe", "application/x-mach-binary"),
    (b"\0asm", "application/wasm"),
)
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_RIFF: Final = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS: Final = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
"""Of ISO base media files (ISO/IEC 14496-12, `ftyp`); any other brand is a video."""
_GENERIC_BRANDS: Final = (b"mif1", b"msf1")
_MACHO_FAT_MOST: Final = 45
"""A Java class and a Mach-O file for several machines begin alike; the count of machines is below any class version."""
_SYNC_LAYER: Final = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
"""MPEG audio, layer II or III, without an ID3 tag."""
_LOCAL_HEADER: Final = re.compile(rb"PK\x03\x04.{22}(.{2})(.{2})", re.DOTALL)
_OOXML: Final = {b"word/": ZIPPED[".docx"], b"xl/": ZIPPED[".xlsx"], b"ppt/": ZIPPED[".pptx"]}
_MIMETYPE: Final = re.compile(
    rb"application/(vnd\.oasis\.opendocument\.(text|spreadsheet|presentation|graphics)|epub\+zip)(?=PK)"
)
_BINARY: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""Bytes no text has (WHATWG MIME Sniffing, binary data byte), with vertical tab allowed and DEL not."""
_HTML: Final = re.compile(
    r"<(!doctype\s+html|(html|head|body|script|iframe|style|title|base|meta|link|h[1-6]|div|font|table|form|object"
    r"|embed|center|a|b|p|br|img|ul|ol|input|button|video|audio|frameset|noscript|template|textarea|svg:script)"
    r"(?=[\s/>]))",
    re.IGNORECASE,
)
_XHTML: Final = re.compile(r"<(!doctype\s+)?html(?=[\s/>])", re.IGNORECASE)
_SVG: Final = re.compile(r"<([\w-]+:)?svg(?=[\s/>])", re.IGNORECASE)
_PREAMBLE: Final = re.compile(
    r"(\s+|<\?.*?\?>|<!--.*?-->|<!doctype\s(?!\s*html)[^>\[]*(\[.*?\]\s*)?>)+", re.IGNORECASE | re.DOTALL
)
_JSON: Final = re.compile(r"[\[{\"0-9tfn-]")


def media_type_of(head: bytes, name: str) -> str:
    """Media type of the file that begins with `head` (its first `HEAD_BYTES`) and was called `name`.

    `application/octet-stream` where nothing is recognised. What may run in a browser is never called inert:
    a text that begins like HTML is HTML, unless its name says a kind of text that no browser runs or shows.
    """
    head = head[:HEAD_BYTES]
    suffix = PurePosixPath(name.replace("\\", "/")).suffix.lower()
    return _binary(head, suffix) or _text(head, suffix) or OCTET_STREAM


def settle(declared: str, head: bytes, name: str) -> str:
    """The type to keep: the declared one where it may stand and says something, else what the bytes say."""
    found = media_type_of(head, name)
    kept = normal(declared)
    if is_textual(found) and not is_textual(kept):  # a programme's own name for a text, say
        return found
    return kept if kept != OCTET_STREAM and is_compatible(kept, found) else found


def _binary(head: bytes, suffix: str) -> str | None:
    for start, media_type in _STARTS:
        if head.startswith(start):
            return _java(head) or media_type
    looks: tuple[Callable[[bytes, str], str | None], ...] = (_zip, _riff, _iso_media, _matroska, _ole, _odd)
    return next(filter(None, (look(head, suffix) for look in looks)), None)


def _java(head: bytes) -> str | None:
    is_class = head.startswith(b"\xca\xfe\xba\xbe") and int.from_bytes(head[4:8], "big") >= _MACHO_FAT_MOST
    return "application/java-vm" if is_class else None


def _zip(head: bytes, suffix: str) -> str | None:
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return None
    names = [_entry_name(head, match) for match in _LOCAL_HEADER.finditer(head)]
    if names[:1] == [b"mimetype"]:
        stated = _MIMETYPE.search(head)
        return stated.group().decode() if stated else "application/zip"
    for folder, media_type in _OOXML.items():
        if b"[Content_Types].xml" in names and any(entry.startswith(folder) for entry in names):
            return media_type
    if names[:1] == [b"[Content_Types].xml"] and suffix in (".docx", ".xlsx", ".pptx"):
        return ZIPPED[suffix]  # its parts begin after the head
    if names[:1] == [b"META-INF/MANIFEST.MF"] or names[:1] == [b"META-INF/"]:
        return "application/java-archive"
    return "application/zip"


def _entry_name(head: bytes, header: re.Match[bytes]) -> bytes:
    return head[header.end() :][: int.from_bytes(header[1], "little")]


def _riff(head: bytes, _suffix: str) -> str | None:
    return _RIFF.get(head[8:12]) if head.startswith(b"RIFF") else None


def _iso_media(head: bytes, _suffix: str) -> str | None:
    if head[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(head[:4], "big"), 256)
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size, 4))]
    if brands[0] in _GENERIC_BRANDS:  # the compatible ones say which codec
        exact = (_BRANDS[brand] for brand in brands[1:] if brand in _BRANDS and brand not in _GENERIC_BRANDS)
        return next(exact, _BRANDS[brands[0]])
    return _BRANDS.get(brands[0], "video/mp4")


def _matroska(head: bytes, _suffix: str) -> str | None:
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    return "video/webm" if b"webm" in head[:64] else "video/x-matroska"


def _ole(head: bytes, suffix: str) -> str | None:
    if not head.startswith(_OLE):
        return None
    kinds = {".doc": "application/msword", ".xls": "application/vnd.ms-excel", ".ppt": "application/vnd.ms-powerpoint"}
    return kinds.get(suffix, "application/x-ole-storage")


def _odd(head: bytes, _suffix: str) -> str | None:
    """Formats whose signature is so short that more than it has to fit."""
    if head.startswith(b"BM") and len(head) >= 26 and head[6:10] == b"\0\0\0\0":  # noqa: PLR2004 - BITMAPCOREHEADER ends there
        return "image/bmp"
    if head.startswith(b"MZ") and _BINARY.search(head):
        return "application/vnd.microsoft.portable-executable"
    if _SYNC_LAYER.match(head) and _BINARY.search(head):
        return "audio/mpeg"
    return None


def _text(head: bytes, suffix: str) -> str | None:
    text = _decoded(head)
    if text is None:
        return None
    named = BY_EXTENSION.get(suffix)
    if named in TEXTUAL and named not in INLINE and named != "application/json":
        return named
    if not head:
        return named
    return _markup(text) or _script(text) or _structured(text, named)


def _markup(text: str) -> str | None:
    start = _PREAMBLE.match(text)
    root = text[start.end() :] if start else text
    if _SVG.match(root):
        return "image/svg+xml"
    if text.lstrip().startswith("<?xml"):
        return "application/xhtml+xml" if _XHTML.match(root) else "text/xml"
    return "text/html" if _HTML.match(root) else None


def _script(text: str) -> str | None:
    return "text/x-shellscript" if text.startswith("#!") else None


def _structured(text: str, named: str | None) -> str:
    if named == "application/json" and _JSON.match(text.lstrip()):
        return "application/json"
    return PLAIN


def _decoded(head: bytes) -> str | None:
    """The head as text, None if it is none; an encoding that is not UTF-8 is read as Latin-1, which is enough here."""
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(mark):
            text = head[2:].decode(encoding, "ignore")
            return None if "\0" in text else text
    if _BINARY.search(head):
        return None
    return head.decode("utf-8-sig", "ignore") if _is_utf8(head) else head.decode("latin-1")


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"  # a character across the head's end
    return True
