"""Takes out of a provider's words whatever tells a key or our account there."""

import re
from typing import Final

import orjson

SHORTEST_KEY: Final = 8
"""What is shorter would be found in words."""
HIDDEN: Final = b"***"
_UUID: Final = rb"[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}"
_NAMES: Final = re.compile(
    rb"\bsk-[\w*.-]*[\w*]|\b(?:org-|proj_|user-)[A-Za-z0-9]{16,}\b|(?<=organization)(\W{1,6}|_id\W{1,6})" + _UUID,
    re.IGNORECASE,
)
"""Parts of keys, and names of accounts."""


def masked(body: bytes, key: str) -> bytes:
    """The body, JSON, without the key and what looks like one, or like an account."""
    if len(key) >= SHORTEST_KEY:
        body = body.replace(orjson.dumps(key)[1:-1], HIDDEN)
    return _NAMES.sub(lambda found: (found[1] or b"") + HIDDEN, body)
