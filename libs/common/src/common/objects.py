"""Objects (large bodies, files): a small port and its adapter on a local folder."""

import asyncio
import os
import re
import secrets
from pathlib import Path
from typing import Protocol

from common.errors import NotFoundError, UnavailableError

KEY = re.compile(r"[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9._-]*)+")


class ObjectStoreUnavailableError(UnavailableError):
    """The object store cannot be written or read; nothing was changed."""

    code = "object_store_unavailable"
    title = "The object store is not reachable"


class ObjectMissingError(NotFoundError):
    """No object under this key."""

    code = "object_missing"


class ObjectStore(Protocol):
    """Immutable objects by key; writing a key again with the same bytes is harmless."""

    async def put(self, key: str, data: bytes) -> None:
        """Store durably before returning. Raises `ObjectStoreUnavailableError`."""

    async def get(self, key: str) -> bytes:
        """Whole object. Raises `ObjectMissingError`, `ObjectStoreUnavailableError`."""

    async def delete(self, key: str) -> None:
        """Remove if present. Raises `ObjectStoreUnavailableError`."""


class FolderStore:
    """Objects as files: written aside, flushed to disk (file and folder), then renamed.

    The folder itself is never made here: an empty one in the place of a lost mount would swallow what is acknowledged.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def _path(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError(f"not an object key: {key!r}")
        return self._root / key

    async def put(self, key: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        try:
            await asyncio.to_thread(_write_durably, self._root, self._path(key), data)
        except OSError as error:
            raise ObjectStoreUnavailableError from error

    async def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        try:
            return await asyncio.to_thread(self._path(key).read_bytes)
        except FileNotFoundError as error:
            if not self._root.is_dir():
                raise ObjectStoreUnavailableError from error
            raise ObjectMissingError from error
        except OSError as error:
            raise ObjectStoreUnavailableError from error

    async def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        try:
            await asyncio.to_thread(self._path(key).unlink, missing_ok=True)
        except OSError as error:
            raise ObjectStoreUnavailableError from error


def _write_durably(root: Path, path: Path, data: bytes) -> None:
    if path.exists():
        return
    if not root.is_dir():  # a lost mount must not be replaced by a folder
        raise NotADirectoryError(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
