"""Pure values and decisions: names, parts of an upload, how a file may be shown."""

import unicodedata
from typing import Any, Final
from urllib.parse import quote

MIB: Final = 1024 * 1024
SINGLE_BYTES: Final = 8 * MIB
"""Largest file that is uploaded by one request."""
LARGEST_BYTES: Final = 5 * 1024 * MIB
PART_SIZES: Final = tuple(mib * MIB for mib in (8, 16, 32, 64))
PARTS_AIMED_AT: Final = 128
THUMBNAIL_PIXELS: Final = (256, 1024)
_QUOTED: Final = str.maketrans({'"': "_", "\\": "_", "%": "_"})


def part_size(size: int) -> int:
    """Bytes of each part but the last of an upload of `size` bytes."""
    return next(part for part in PART_SIZES if size <= part * PARTS_AIMED_AT)


def part_lengths(size: int, part: int) -> list[int]:
    """Bytes of each part, in order."""
    whole, rest = divmod(size, part)
    return [part] * whole + [rest] * (rest > 0)


def disposition(name: str, *, inline: bool) -> str:
    """`Content-Disposition` (RFC 6266): an ASCII name for old clients beside the exact one."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "replace").decode().replace("?", "_").translate(_QUOTED)
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def served_type(media_type: str, *, safe: bool) -> str:
    """The type a file is served as: what no browser may show is bytes, text says its encoding."""
    if not safe:
        return "application/octet-stream"
    return "text/plain; charset=utf-8" if media_type == "text/plain" else media_type


def part_count(size: int, part: int) -> int:
    """How many requests bring the bytes; an empty file takes one as well."""
    return max(1, -(-size // part))


def thumbnail_key(object_key: str, pixels: int) -> str:
    """Where a file's thumbnail is stored."""
    return f"{object_key}.{pixels}.webp"


def within(pages: list[dict[str, Any]], max_tokens: int | None) -> tuple[list[dict[str, Any]], bool]:
    """Pages up to so many tokens, the last one cut in proportion; and whether anything was left out."""
    left = max_tokens
    taken: list[dict[str, Any]] = []
    for page in pages:
        if left is None or page["tokens"] <= left:
            taken.append(page)
            left = None if left is None else left - page["tokens"]
            continue
        if left > 0:
            text = page["content"][: len(page["content"]) * left // page["tokens"]]
            taken.append({**page, "content": text, "tokens": left})
        return taken, True
    return taken, False
