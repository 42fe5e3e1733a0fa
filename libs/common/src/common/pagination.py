"""Keyset pagination: `{items, next_cursor}`, an opaque cursor of the last row's sort key."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import Query

from common.errors import BadRequestError

DEFAULT_LIMIT = 50
MAX_LIMIT = 200

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items on a page")]
Cursor = Annotated[str | None, Query(max_length=4000, description="`next_cursor` of the page before")]


class CursorInvalidError(BadRequestError):
    """The cursor was not made by this list."""

    code = "cursor_invalid"
    title = "The cursor is not valid"


def encode(*key: Any) -> str:
    """Opaque cursor of a sort key."""
    return urlsafe_b64encode(orjson.dumps(key)).rstrip(b"=").decode()


def decode(cursor: str, *types: Any) -> list[Any]:
    """Sort key of a cursor, each part parsed by its type. Raises `CursorInvalidError`."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        if rb"\u0000" in text:  # PostgreSQL's text has no NUL
            raise CursorInvalidError
        key = [parse(part) for parse, part in zip(types, orjson.loads(text), strict=True)]
        if encode(*key) != cursor:
            raise CursorInvalidError
    except (ValueError, TypeError, AttributeError) as error:
        raise CursorInvalidError from error
    return key


def page(rows: Sequence[Any], limit: int, *key: str) -> tuple[list[Any], str | None]:
    """Cut `limit + 1` fetched rows to a page and the cursor after it (None at the end)."""
    items = list(rows[:limit])
    more = len(rows) > limit
    return items, encode(*(items[-1][column] for column in key)) if more else None
