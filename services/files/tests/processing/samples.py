"""Files made for the tests: real ones, and such as attackers make."""

import hashlib
import io
import random
import struct
import zlib
from collections.abc import Sequence
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from PIL import Image, ImageDraw

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
CONTENT_TYPES = b'<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A picture whose left upper quarter is red, the rest blue."""
    image = Image.new("RGB", (width, height), "blue")
    ImageDraw.Draw(image).rectangle((0, 0, width // 2, height // 2), fill="red")
    return image.convert(mode)


def noise(width: int, height: int) -> Image.Image:
    """A picture that compresses like a photo: large forms and grain."""
    rng = random.Random(1)
    grain = Image.frombytes("RGB", (width // 2, height // 2), rng.randbytes(width // 2 * (height // 2) * 3))
    forms = Image.frombytes("RGB", (16, 12), rng.randbytes(16 * 12 * 3)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return Image.blend(forms, grain.resize((width, height), Image.Resampling.BILINEAR), 0.3)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG (RFC 2083)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(side: int, *, pixels: bool) -> bytes:
    """A PNG of `side` x `side` grey pixels, a thousandth of its size; without `pixels` only its header."""
    header = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    if not pixels:
        return header + png_chunk(b"IDAT", b"")
    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return header + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def pdf(texts: Sequence[str], *, password: str | None = None, size: tuple[int, int] = (595, 842)) -> bytes:
    """A PDF with one line of Helvetica a page; with a password it asks for it (RC4, 40 bits)."""
    key, trailer = _encryption(password) if password is not None else (None, b"")
    count = len(texts)
    kids = b" ".join(b"%d 0 R" % (4 + 2 * index) for index in range(count))
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: b"<</Type/Pages/Kids[" + kids + b"]/Count %d/MediaBox[0 0 %d %d]>>" % (count, *size),
        3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    }
    for index, text in enumerate(texts):
        page, content = 4 + 2 * index, 5 + 2 * index
        lines = b" T* ".join(b"(%s) Tj" % _escaped(line) for line in text.split("\n"))
        stream = b"BT /F1 18 Tf 20 TL 72 700 Td " + lines + b" ET"
        if key:
            stream = _rc4(hashlib.md5(key + struct.pack("<I", content)[:3] + b"\0\0").digest()[:10], stream)
        objects[page] = b"<</Type/Page/Parent 2 0 R/Contents %d 0 R/Resources<</Font<</F1 3 0 R>>>>>>" % content
        objects[content] = b"<</Length %d>>stream\n" % len(stream) + stream + b"\nendstream"
    return _assembled(objects, trailer)


def _assembled(objects: dict[int, bytes], trailer: bytes) -> bytes:
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in objects.items():
        places.append(len(out))
        out += b"%d 0 obj" % number + body + b"endobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, trailer, start)
    return bytes(out)


def _escaped(text: str) -> bytes:
    return text.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def _encryption(password: str) -> tuple[bytes, bytes]:
    """PDF 1.4, 3.5.2: standard security handler, revision 2."""
    padded = (password.encode() + _PADDING)[:32]
    owner = _rc4(hashlib.md5(padded).digest()[:5], padded)
    key = hashlib.md5(padded + owner + struct.pack("<i", -4) + b"0" * 16).digest()[:5]
    user = _rc4(key, _PADDING)
    entry = b"/Encrypt<</Filter/Standard/V 1/R 2/O<%s>/U<%s>/P -4>>/ID[<%s><%s>]"
    ident = (b"0" * 16).hex().encode()
    return key, entry % (owner.hex().encode(), user.hex().encode(), ident, ident)


def _rc4(key: bytes, data: bytes) -> bytes:
    state, other = list(range(256)), 0
    for index in range(256):
        other = (other + state[index] + key[index % len(key)]) % 256
        state[index], state[other] = state[other], state[index]
    out, one, two = bytearray(), 0, 0
    for byte in data:
        one = (one + 1) % 256
        two = (two + state[one]) % 256
        state[one], state[two] = state[two], state[one]
        out.append(byte ^ state[(state[one] + state[two]) % 256])
    return bytes(out)


def docx(body: str, *, styles: str = "", entries: Sequence[tuple[str, bytes]] = (), prolog: str = "") -> bytes:
    """A Word document with this content of `w:body`."""
    document = f'{prolog}<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>'
    parts = [("[Content_Types].xml", CONTENT_TYPES), ("word/document.xml", document.encode()), *entries]
    if styles:
        parts.append(("word/styles.xml", f'<w:styles xmlns:w="{WORD}">{styles}</w:styles>'.encode()))
    return zipped(parts)


def paragraph(text: str, style: str = "") -> str:
    """One paragraph with one run."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{properties}<w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def zipped(parts: Sequence[tuple[str, bytes]], stored: Sequence[str] = ()) -> bytes:
    """A ZIP archive."""
    out = io.BytesIO()
    with ZipFile(out, "w") as archive:
        for name, data in parts:
            archive.writestr(name, data, ZIP_STORED if name in stored else ZIP_DEFLATED)
    return out.getvalue()


def lying(archive: bytes, name: str, size: int) -> bytes:
    """The archive with another uncompressed size of one entry, in both of its headers."""
    data, entry = bytearray(archive), name.encode()
    for mark, offset, name_offset in ((b"PK\x03\x04", 22, 30), (b"PK\x01\x02", 24, 46)):
        at = data.find(mark)
        while at >= 0:
            if data[at + name_offset : at + name_offset + len(entry)] == entry:
                data[at + offset : at + offset + 4] = struct.pack("<I", size)
            at = data.find(mark, at + 4)
    return bytes(data)
