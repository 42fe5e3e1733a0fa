"""Takes the usage out of a stream that tells it only because we asked: its client gets what it would have got."""

import re
from typing import Final

import orjson

NULL: Final = re.compile(rb',\s*"usage":\s*null|"usage":\s*null\s*,')
"""Cannot be part of a text: there quotes have a backslash before them."""
LONGEST_EVENT: Final = 64 * 1024


class UsageStripper:
    """Hands whole events on as they come; only one that is cut in two waits for its other half."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """What may be handed on."""
        data = self._rest + chunk if self._rest else chunk
        end = max(data.rfind(b"\n\n") + 2, data.rfind(b"\n\r\n") + 3)
        if end < 3:  # noqa: PLR2004 - not found
            end = len(data) if len(data) > LONGEST_EVENT else 0
        whole, self._rest = data[:end], data[end:]
        if b'"usage"' not in whole:
            return whole
        whole = NULL.sub(b"", whole)
        return _without_usage(whole) if b'"usage"' in whole else whole

    def rest(self) -> bytes:
        """What is left at the end."""
        rest, self._rest = self._rest, b""
        return rest


def _without_usage(data: bytes) -> bytes:
    separator = b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n"
    return separator.join(event for event in data.split(separator) if not _tells_usage_only(event))


def _tells_usage_only(event: bytes) -> bool:
    if not event.startswith(b"data:") or b'"usage"' not in event:
        return False
    try:
        found = orjson.loads(event[5:])
    except orjson.JSONDecodeError:
        return False
    return isinstance(found, dict) and found.get("choices") == [] and isinstance(found.get("usage"), dict)
