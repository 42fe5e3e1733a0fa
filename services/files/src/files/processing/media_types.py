"""Media types as this service tells them apart: which extension means which, which may stand for which."""

from typing import Final

OCTET_STREAM: Final = "application/octet-stream"
PLAIN: Final = "text/plain"

INLINE: Final = frozenset(
    {
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/avif",
        "image/heic",
        "image/heif",
        "image/bmp",
        "image/tiff",
        "image/x-icon",
        "application/pdf",
        "audio/mpeg",
        "audio/mp4",
        "audio/ogg",
        "audio/wav",
        "audio/flac",
        "audio/webm",
        "video/mp4",
        "video/webm",
        "video/ogg",
        "video/quicktime",
        PLAIN,
    }
)
"""May be shown in a browser from our own domain. Never anything that runs there: HTML, SVG, XML, scripts."""

ZIPPED: Final = {
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".epub": "application/epub+zip",
    ".jar": "application/java-archive",
}
"""ZIP archives by another name."""
DOCX: Final = ZIPPED[".docx"]

BY_EXTENSION: Final = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".txt": PLAIN,
    ".text": PLAIN,
    ".log": PLAIN,
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "application/xhtml+xml",
    ".svg": "image/svg+xml",
    ".xml": "text/xml",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".sh": "text/x-shellscript",
}
"""Kinds of text, which bytes do not tell."""
TEXTUAL: Final = frozenset(BY_EXTENSION.values())

_ALIASES: Final = {
    "": OCTET_STREAM,
    "binary/octet-stream": OCTET_STREAM,
    "application/x-download": OCTET_STREAM,
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "image/vnd.microsoft.icon": "image/x-icon",
    "application/x-pdf": "application/pdf",
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
    "application/x-rar-compressed": "application/vnd.rar",
    "audio/mp3": "audio/mpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/m4a": "audio/mp4",
    "audio/x-m4a": "audio/mp4",
    "application/ogg": "audio/ogg",
    "text/x-markdown": "text/markdown",
    "application/csv": "text/csv",
    "application/xml": "text/xml",
    "application/javascript": "text/javascript",
    "application/x-javascript": "text/javascript",
    "application/x-sh": "text/x-shellscript",
    "text/yaml": "application/yaml",
    "application/x-yaml": "application/yaml",
}
_OLE_DOCUMENTS: Final = frozenset({"application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"})
_CONTAINERS: Final = (
    frozenset({"video/mp4", "audio/mp4", "video/quicktime"}),
    frozenset({"video/webm", "audio/webm", "video/x-matroska"}),
    frozenset({"audio/ogg", "video/ogg"}),
    frozenset({"image/heic", "image/heif"}),
    frozenset({"application/x-ole-storage", *_OLE_DOCUMENTS}),
    frozenset({"application/zip", *ZIPPED.values()}),
)
"""Of one format: the head does not always tell which."""
_CSV_ON_WINDOWS: Final = "application/vnd.ms-excel"
_CARRIERS: Final = frozenset({OCTET_STREAM, "application/zip", "application/gzip", "application/x-ole-storage"})
"""What the bytes of a format not known here may look like, if not like a text."""
_SNIFFED: Final = frozenset().union(
    INLINE, TEXTUAL, *_CONTAINERS, {"application/gzip", "application/x-7z-compressed", "application/vnd.rar"}
)
"""Types that are recognised when they are there."""


def normal(media_type: str) -> str:
    """The type without parameters, in lower case, by its usual name."""
    essence = media_type.partition(";")[0].strip().lower()
    return _ALIASES.get(essence, essence)


def is_compatible(declared: str, sniffed: str) -> bool:
    """Whether a declared type may stand where `sniffed` was found in the bytes (`media_type_of`).

    A container may be named more exactly, a text may be called any kind of text, and a type not known here may be a
    text or an archive, too: it is saved, never shown. But nothing may be called by a type that is shown inline unless
    its bytes are of it: a text called plain stays what it was found to be, since one with the name of a Markdown file
    may begin as HTML.
    """
    declared = normal(declared)
    if declared in (OCTET_STREAM, sniffed):
        return True
    if is_textual(sniffed) and is_textual(declared):
        return declared not in INLINE
    if is_textual(sniffed) and declared == _CSV_ON_WINDOWS:
        return True
    if declared not in _SNIFFED and not is_textual(declared):
        return is_textual(sniffed) or sniffed in _CARRIERS
    return any(declared in group and sniffed in group for group in _CONTAINERS)


def is_textual(media_type: str) -> bool:
    """Whether it is a kind of text."""
    return media_type in TEXTUAL or media_type.startswith("text/") or media_type.endswith(("+xml", "+json"))
