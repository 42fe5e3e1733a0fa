"""OpenAI's embeddings: texts with the same words lie near each other."""

import base64
import hashlib
import math
import re
from array import array
from collections.abc import Mapping
from typing import Any

import orjson

from deploy.provider.dialect import checked, most, wanted
from deploy.provider.prompt import RefusedError, pieces

DIMENSIONS = 1536
MOST_DIMENSIONS = 3072
MOST_INPUTS = 2048
DIRECTIONS = 8
"""A word adds to so many of the numbers."""


def embed(body: Mapping[str, Any]) -> tuple[bytes, int]:
    """The answer, and the tokens read. Raises `RefusedError`."""
    given = wanted(body, "input", (str, list))
    inputs = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    size = most(body, "dimensions") or DIMENSIONS
    if not given or len(inputs) > MOST_INPUTS or size > MOST_DIMENSIONS:
        raise RefusedError("Invalid 'input' or 'dimensions'.", parameter="input", code="invalid_value")
    compact = checked(body, "encoding_format", str) == "base64"
    read = sum(len(pieces(one)) if isinstance(one, str) else len(one) for one in inputs)
    data = [
        {"object": "embedding", "index": at, "embedding": _written(_vector(_text(one), size), compact=compact)}
        for at, one in enumerate(inputs)
    ]
    usage = {"prompt_tokens": read, "total_tokens": read}
    return orjson.dumps({"object": "list", "data": data, "model": body["model"], "usage": usage}), read


def _text(given: str | list[int]) -> str:
    return given if isinstance(given, str) else " ".join(map(str, given))


def _vector(text: str, size: int) -> "array[float]":
    made = array("f", bytes(4 * size))
    for word in re.findall(r"\w+", text.lower()) or [text]:
        digest = hashlib.blake2b(word.encode(), digest_size=4 * DIRECTIONS).digest()
        for at in range(0, len(digest), 4):
            number = int.from_bytes(digest[at : at + 4], "big")
            made[(number >> 1) % size] += 1.0 if number & 1 else -1.0
    length = math.sqrt(sum(value * value for value in made)) or 1.0
    return array("f", (value / length for value in made))


def _written(vector: "array[float]", *, compact: bool) -> str | list[float]:
    return base64.b64encode(vector.tobytes()).decode() if compact else vector.tolist()
