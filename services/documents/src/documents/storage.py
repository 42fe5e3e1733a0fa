"""Bodies: Markdown bytes as they are stored: compressed, addressed by hash, small ones inline, large as objects."""

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import zstandard

from common.objects import ObjectMissingError, ObjectStore

from .errors import BodyCorruptError, BodyMissingError, DocumentTooLargeError

log = logging.getLogger(__name__)

LEVEL = 3
OFF_LOOP_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Body:
    """Content ready to be stored: its hash, and its compressed bytes if they go inline."""

    content: bytes
    sha256: str
    inline: bytes | None

    @property
    def size(self) -> int:
        """Bytes of Markdown."""
        return len(self.content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _compress(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL).compress(content)


def _decompress(data: bytes, size: int) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=max(size, 1))


class BodyStore:
    """Turns content into bodies and stored bodies into content."""

    def __init__(self, objects: ObjectStore, *, inline_below: int, limit: int) -> None:
        self._objects = objects
        self._inline_below = inline_below
        self._limit = limit

    async def prepare(self, content: bytes) -> Body:
        """Hash `content`, compress it if it will be inline. Raises `DocumentTooLargeError`."""
        if len(content) > self._limit:
            raise DocumentTooLargeError(f"{len(content)} bytes, the limit is {self._limit}")
        if len(content) < self._inline_below:
            return Body(content, _sha256(content), _compress(content))
        return Body(content, await asyncio.to_thread(_sha256, content), None)

    async def put(self, workspace_id: UUID, body: Body) -> None:
        """Store a large body durably; call it before the transaction. Raises `ObjectStoreUnavailableError`."""
        if body.inline is None:
            compressed = await asyncio.to_thread(_compress, body.content)
            await self._objects.put(_key(workspace_id, body.sha256), compressed)

    async def copy(self, sha256: str, source: UUID, target: UUID) -> None:
        """Keep a large body in another workspace, too. Raises `ObjectStoreUnavailableError`, `BodyMissingError`."""
        await self._objects.put(_key(target, sha256), await self._fetch(_key(source, sha256)))

    async def remove(self, workspace_id: UUID, sha256: str) -> None:
        """Delete a large body nothing refers to. Raises `ObjectStoreUnavailableError`."""
        await self._objects.delete(_key(workspace_id, sha256))

    async def read(self, stored: dict[str, Any]) -> bytes:
        """Content of a row with workspace_id, body_sha256, size, data; hold no transaction if `data` is None.

        Raises `ObjectStoreUnavailableError`, `BodyMissingError`, and `BodyCorruptError` if the bytes are not those
        that were saved.
        """
        data = stored["data"]
        if data is None:
            data = await self._fetch(_key(stored["workspace_id"], stored["body_sha256"]))
        if stored["size"] >= OFF_LOOP_BYTES:
            return await asyncio.to_thread(_verified, data, stored["size"], stored["body_sha256"])
        return _verified(data, stored["size"], stored["body_sha256"])

    async def _fetch(self, key: str) -> bytes:
        try:
            return await self._objects.get(key)
        except ObjectMissingError as error:
            log.error("a body is missing in the object store", extra={"fields": {"key": key}})  # noqa: TRY400
            raise BodyMissingError from error


def _verified(data: bytes, size: int, sha256: str) -> bytes:
    try:
        content = _decompress(data, size)
    except zstandard.ZstdError as error:
        raise BodyCorruptError(sha256) from error
    if _sha256(content) != sha256:
        raise BodyCorruptError(sha256)
    return content


def _key(workspace_id: UUID, sha256: str) -> str:
    return f"bodies/{workspace_id}/{sha256}"
