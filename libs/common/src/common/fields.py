"""Request bodies and bounded text: what is refused before any service sees it."""

from typing import Annotated
from unicodedata import category
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

MAX_TITLE_LENGTH = 500
MAX_LINE_LENGTH = 200
UUID_VERSIONS = (4, 7)


class RequestBody(BaseModel):
    """Base of request bodies: unknown fields are refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


def _printable(text: str) -> str:
    if any(category(character) in ("Cc", "Zl", "Zp") for character in text):
        raise ValueError("must not contain control characters or line separators")
    return text


def _random_or_time_ordered(value: UUID) -> UUID:
    if value.version not in UUID_VERSIONS:
        raise ValueError("must be a UUID of version 4 or 7")
    return value


Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_LINE_LENGTH), AfterValidator(_printable)
]
Title = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=MAX_TITLE_LENGTH), AfterValidator(_printable)
]
ClientId = Annotated[UUID, AfterValidator(_random_or_time_ordered)]
