"""What a file is, whatever it is called."""

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from files.processing.media_types import INLINE, ZIPPED, is_compatible
from files.processing.sniff import HEAD_BYTES, media_type_of, settle

from . import samples

OOXML = [("[Content_Types].xml", samples.CONTENT_TYPES), ("_rels/.rels", b"<x/>")]
ODT = "application/vnd.oasis.opendocument.text"


def image(kind: str) -> bytes:
    return samples.saved(samples.picture(40, 30), kind)


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (image("PNG"), "a.png", "image/png"),
        (image("JPEG"), "a", "image/jpeg"),
        (image("GIF"), "a.txt", "image/gif"),
        (image("WEBP"), "a", "image/webp"),
        (image("AVIF"), "a", "image/avif"),
        (image("BMP"), "a", "image/bmp"),
        (image("TIFF"), "a", "image/tiff"),
        (image("ICO"), "a", "image/x-icon"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a", "image/heic"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "a", "image/avif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf", "a", "image/heif"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomiso2", "a", "video/mp4"),
        (b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42", "a", "audio/mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a.mp4", "video/quicktime"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\1B\x82\x84webm", "a", "video/webm"),
        (b"OggS\0\2", "a", "audio/ogg"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "a", "audio/wav"),
        (b"fLaC\0\0\0\x22", "a", "audio/flac"),
        (b"ID3\4\0", "a", "audio/mpeg"),
        (b"\xff\xfb\x90\x64\0\0", "a", "audio/mpeg"),
        (samples.pdf(["x"]), "a", "application/pdf"),
        (samples.docx(samples.paragraph("x")), "a", ZIPPED[".docx"]),
        (samples.zipped([*OOXML, ("xl/workbook.xml", b"<x/>")]), "a", ZIPPED[".xlsx"]),
        (samples.zipped([*OOXML, ("ppt/presentation.xml", b"<x/>")]), "a", ZIPPED[".pptx"]),
        (samples.zipped([("mimetype", ODT.encode()), ("content.xml", b"<x/>")], ["mimetype"]), "a", ODT),
        (samples.zipped([("mimetype", b"text/html"), ("a", b"x")], ["mimetype"]), "a", "application/zip"),
        (samples.zipped([("META-INF/MANIFEST.MF", b"x")]), "a.zip", "application/java-archive"),
        (samples.zipped([("word/a.txt", b"x")]), "a.docx", "application/zip"),
        (samples.zipped([("a.txt", b"x")]), "a.docx", "application/zip"),
        (samples.zipped([]), "a", "application/zip"),
        (b"\x1f\x8b\x08\0", "a", "application/gzip"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "a", "application/x-7z-compressed"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "a.doc", "application/msword"),
        (b"\x7fELF\2\1\1", "a.png", "application/x-executable"),
        (b"MZ\x90\0\3\0", "a.txt", "application/vnd.microsoft.portable-executable"),
        (b"\xca\xfe\xba\xbe\0\0\0\x34", "a", "application/java-vm"),
        (b"\xca\xfe\xba\xbe\0\0\0\x02", "a", "application/x-mach-binary"),
        (b"#!/bin/sh\nrm -rf /", "a.txt", "text/x-shellscript"),
        (b"<!DOCTYPE html><p>x", "a.png", "text/html"),
        (b"\xef\xbb\xbf \n<!-- x --><HTML>", "a.txt", "text/html"),
        ("\ufeff<script>x</script>".encode("utf-16-le"), "a.txt", "text/html"),
        (b"<?xml version='1.0'?><a/>", "a", "text/xml"),
        (
            b"<?xml version='1.0'?>\n<!DOCTYPE svg PUBLIC 'x' 'y' [<!ENTITY a 'b'>]><svg xmlns='x'/>",
            "a",
            "image/svg+xml",
        ),
        (b"<!-- x --><s:svg xmlns:s='x'/>", "a.txt", "image/svg+xml"),
        (b"fragment of html", "a.html", "text/html"),
        (b'{"a": 1}', "a.json", "application/json"),
        (b"<html>", "a.json", "text/html"),
        (b"<p align=center>x</p>\n\n# Title", "README.md", "text/markdown"),
        (b"a;b\n1;2", "a.csv", "text/csv"),
        ("Grüße".encode(), "a", "text/plain"),
        ("Grüße".encode("latin-1"), "a.txt", "text/plain"),
        ("\ufeffGrüße".encode("utf-16-be"), "a.txt", "text/plain"),
        (b"plain", "a.png", "text/plain"),
        (b"", "a.md", "text/markdown"),
        (b"", "a.png", "application/octet-stream"),
        (b"a\0b", "a.txt", "application/octet-stream"),
        (b"a\0b", "a.md", "application/octet-stream"),
        (b"BMW is a car", "a", "text/plain"),
        (b"MZ is short for Mark Zbikowski", "a", "text/plain"),
    ],
)
def test_the_type_is_what_the_bytes_say(data: bytes, name: str, expected: str) -> None:
    assert media_type_of(data, name) == expected


def test_a_character_cut_in_two_at_the_end_of_the_head_is_still_utf8() -> None:
    assert media_type_of(b"x" + "é".encode() * HEAD_BYTES, "a.txt") == "text/plain"


@pytest.mark.parametrize(
    ("declared", "sniffed", "stands"),
    [
        ("image/png", "text/html", False),
        ("image/png", "image/jpeg", False),
        ("image/png", "application/octet-stream", False),
        ("image/PNG; charset=x", "image/png", True),
        ("image/jpg", "image/jpeg", True),
        ("application/octet-stream", "text/html", True),
        ("", "image/png", True),
        ("text/markdown", "text/plain", True),
        ("text/markdown", "text/html", True),
        ("text/plain", "text/markdown", False),
        ("text/plain", "text/html", False),
        ("text/plain", "image/svg+xml", False),
        ("text/plain", "text/javascript", False),
        ("text/html", "text/plain", True),
        ("text/x-python", "text/plain", True),
        ("application/ld+json", "text/plain", True),
        ("text/plain", "application/octet-stream", False),
        ("application/pdf", "text/plain", False),
        (ZIPPED[".docx"], "application/zip", True),
        ("application/zip", ZIPPED[".docx"], True),
        ("application/x-zip-compressed", "application/zip", True),
        (ZIPPED[".docx"], "application/pdf", False),
        ("audio/mp4", "video/mp4", True),
        ("video/mp4", "image/avif", False),
        ("audio/webm", "video/webm", True),
        ("font/woff2", "application/octet-stream", True),
        ("font/woff2", "application/x-executable", False),
        ("image/png", "application/zip", False),
        ("application/vnd.apple.keynote", "application/zip", True),
        ("application/vnd.ms-excel", "text/csv", True),
        ("application/rtf", "text/plain", True),
        ("video/mp2t", "text/plain", True),
        ("application/x-tex", "text/plain", True),
        ("text/x-python", "application/octet-stream", False),
    ],
)
def test_a_declared_type_stands_only_where_the_bytes_bear_it(declared: str, sniffed: str, *, stands: bool) -> None:
    assert is_compatible(declared, sniffed) is stands


ACTIVE = [
    b"<html>",
    b"<script>x</script>",
    b"<svg xmlns='x'/>",
    b"<?xml version='1.0'?><a/>",
    b" \n<!doctype  HTML>",
    b"<svg/onload=x>",
]


@given(
    st.sampled_from(ACTIVE),
    st.sampled_from(["", ".txt", ".png", ".pdf", ".html", ".svg", ".md", ".json", ".exe"]),
    st.sampled_from([*sorted(INLINE), "application/octet-stream", "text/html", "", "IMAGE/PNG", "text/plain;x"]),
    st.text(max_size=20),
)
def test_what_a_browser_would_run_is_never_inline(data: bytes, suffix: str, declared: str, stem: str) -> None:
    assert settle(declared, data, stem + suffix) not in INLINE


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a.png/../b.html", "..\\..\\b.html", "b.html\0.png", ".", "", "x" * 9999]
)
def test_a_name_with_path_tricks_is_only_a_name(name: str) -> None:
    assert media_type_of(image("PNG"), name) == "image/png"
    assert media_type_of(b"<html>", name) == "text/html"


@pytest.mark.parametrize("polyglot", [b"%PDF-1.4\n" + image("PNG"), b"GIF89a/*<script>*/=1;"])
def test_a_polyglot_is_what_it_begins_with(polyglot: bytes) -> None:
    expected = "application/pdf" if polyglot.startswith(b"%") else "image/gif"
    assert media_type_of(polyglot, "a.html") == expected
    assert settle("text/html", polyglot, "a.html") == expected
    assert media_type_of(b"<html>" + samples.pdf(["x"]), "a.pdf") in {"text/html", "application/octet-stream"}


@given(st.binary(max_size=300), st.text(max_size=30))
def test_any_bytes_have_a_type(data: bytes, name: str) -> None:
    assert "/" in media_type_of(data, name)


@pytest.mark.parametrize(
    "piece", [b"<!doctype ", b"<!--", b"<?", b" ", b"<!doctype x[", b"]  ", b"PK\3\4", b"<", b"\n\n"]
)
def test_a_hostile_head_takes_no_time(piece: bytes) -> None:
    started = time.perf_counter()
    media_type_of(piece * HEAD_BYTES, "a")
    media_type_of(b"<!doctype " + piece * HEAD_BYTES, "a")
    assert time.perf_counter() - started < 0.3


def test_only_the_head_counts() -> None:
    out = io.BytesIO(b"x" * HEAD_BYTES + b"\0")
    assert media_type_of(out.getvalue(), "a.txt") == "text/plain"


def test_a_markdown_file_that_begins_as_html_is_not_shown_as_plain_text() -> None:
    assert settle("text/plain", b"<html>", "x.md") == "text/markdown"
    assert settle("text/plain", b"text", "x.log") == "text/plain"
