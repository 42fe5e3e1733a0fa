"""The ports: immutable objects by key, for services; and for the one whose clients write and read them themselves."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

KEY: Final = re.compile(r"[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9._-]*)+")
MOST_PARTS: Final = 10_000
"""As S3 has it."""
CHUNK_BYTES: Final = 1024 * 1024
"""What is read, hashed or written at a time."""
_HEADER_VALUE: Final = re.compile(r"[ -~]+")


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as the store lists it."""

    key: str
    size: int
    modified: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an upload that the store has received; `number` counts from 1."""

    number: int
    size: int
    etag: str
    """As the answer to its PUT had it, with its quotes."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload in parts that was begun and neither completed nor aborted."""

    key: str
    upload: str
    begun: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A request that whoever holds it may make until it expires, and no other."""

    method: str
    url: str
    headers: Mapping[str, str]
    """Must be sent as they are; `Content-Length` too is fixed, but every client sets it by itself."""


@dataclass(frozen=True, slots=True)
class Served:
    """How a download is to be answered; `disposition` is the whole `Content-Disposition` (RFC 6266)."""

    content_type: str
    disposition: str

    def __post_init__(self) -> None:
        for value in (self.content_type, self.disposition):
            if not _HEADER_VALUE.fullmatch(value):
                raise ValueError(f"not a header value: {value!r}")


class ObjectStore(Protocol):
    """Immutable objects by key; writing a key again with the same bytes is harmless.

    Everything here and in `FileStore` raises `ObjectStoreUnavailableError`, and `ValueError` for what is not a `KEY`.
    """

    async def put(self, key: str, data: bytes) -> None:
        """Store durably before returning."""

    async def get(self, key: str) -> bytes:
        """Whole object. Raises `ObjectMissingError`."""

    async def delete(self, key: str) -> None:
        """Remove if present."""


class FileStore(ObjectStore, Protocol):
    """Objects that clients write and read themselves, by signed requests."""

    async def find(self, key: str) -> Stored | None:
        """The object, if there is one."""

    def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Bytes from `start` up to `stop`, about `CHUNK_BYTES` at a time. Raises `ObjectMissingError`."""

    def listed(self, prefix: str) -> AsyncIterator[Stored]:
        """All objects whose keys begin so, in no promised order."""

    async def begin(self, key: str) -> str:
        """Begin an upload in parts and return its id."""

    async def parts(self, key: str, upload: str) -> list[Part]:
        """What was received, in order. Raises `ObjectMissingError` if there is no such upload."""

    async def complete(self, key: str, upload: str, parts: Sequence[Part]) -> None:
        """Make the object of these parts, durably; may be repeated. An object that is there already stays.

        Raises `PartsMismatchError`, and `ObjectMissingError` if there is neither upload nor object.
        """

    async def abort(self, key: str, upload: str) -> None:
        """Forget the upload and its parts; may be repeated, also after `complete`."""

    def unfinished(self, prefix: str) -> AsyncIterator[Unfinished]:
        """All uploads in parts whose keys begin so, in no promised order."""

    async def sign_put(self, key: str, size: int, sha256: bytes, seconds: int) -> Signed:
        """Sign for these bytes only; if there is an object, the request is refused (412)."""

    async def sign_part(self, key: str, upload: str, number: int, size: int, seconds: int) -> Signed:
        """Sign for this part of this upload and size; a part may be sent again, the last complete one counts."""

    async def sign_get(self, key: str, served: Served, seconds: int) -> str:
        """URL of a download: GET or HEAD, ranges."""


def checked(key: str) -> str:
    """`key`, if it is one; else a `ValueError`."""
    if not KEY.fullmatch(key):
        raise ValueError(f"not an object key: {key!r}")
    return key


def checked_number(number: int) -> int:
    """`number`, if a part may have it; else a `ValueError`."""
    if not 1 <= number <= MOST_PARTS:
        raise ValueError(f"not the number of a part: {number}")
    return number
