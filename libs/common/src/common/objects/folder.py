"""Objects as files in a local folder."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import ParamSpec, TypeVar

from common.objects import durable
from common.objects.errors import ObjectMissingError, ObjectStoreUnavailableError
from common.objects.store import CHUNK_BYTES, Stored, checked

P = ParamSpec("P")
T = TypeVar("T")


class FolderStore:
    """Objects as files: written aside, flushed to disk (file and folder), then named.

    The folder itself is never made here: an empty one in the place of a lost mount would swallow what is acknowledged.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, key: str) -> Path:
        """Where an object is, or would be. Raises `ValueError` for what is no key."""
        return self._root / checked(key)

    async def put(self, key: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        await in_thread(self._put, self.path(key), data)

    def _put(self, path: Path, data: bytes) -> None:
        if path.exists():
            return
        durable.make_folders(self._root, path.parent)
        with durable.Draft(self._root) as draft:
            draft.write([data])
            with suppress(FileExistsError):
                draft.publish(path)

    async def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        path = self.path(key)
        return await in_thread(self._present, path.read_bytes)

    async def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        path = self.path(key)
        with suppress(ObjectMissingError):
            await in_thread(self._present, path.unlink)

    async def find(self, key: str) -> Stored | None:
        """See `FileStore.find`."""
        path = self.path(key)
        try:
            stat = await in_thread(self._present, path.stat)
        except ObjectMissingError:
            return None
        return Stored(key, stat.st_size, stat.st_mtime) if S_ISREG(stat.st_mode) else None

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """See `FileStore.read`; the next chunk is read while this one is used."""
        path = self.path(key)
        descriptor = await in_thread(self._present, lambda: os.open(path, os.O_RDONLY))
        try:
            async for chunk in _read_ahead(descriptor, start, stop):
                yield chunk
        except OSError as error:
            raise ObjectStoreUnavailableError from error

    async def listed(self, prefix: str) -> AsyncIterator[Stored]:
        """See `FileStore.listed`."""
        folders = [prefix.rpartition("/")[0]]
        while folders:
            stored, inner = await in_thread(self._scan, folders.pop(), prefix)
            folders += inner
            for one in stored:
                yield one

    async def left_behind(self, older_than_seconds: float) -> list[str]:
        """Names of what killed writers left and nobody has written to for so long."""
        found = await in_thread(lambda: list(durable.left_behind(self._root, older_than_seconds)))
        return [path.relative_to(self._root).as_posix() for path in found]

    async def sweep(self, older_than_seconds: float) -> None:
        """Remove what killed writers left and nobody has written to for so long."""
        await in_thread(durable.sweep, self._root, older_than_seconds)

    def _scan(self, folder: str, prefix: str) -> tuple[list[Stored], list[str]]:
        stored, folders = [], []
        for path in self._entries(folder):
            key = path.relative_to(self._root).as_posix()
            with suppress(FileNotFoundError):  # it has just been deleted
                stat = path.stat()
                if not S_ISREG(stat.st_mode):
                    folders.append(key)
                elif key.startswith(prefix):
                    stored.append(Stored(key, stat.st_size, stat.st_mtime))
        return stored, folders

    def _entries(self, folder: str) -> list[Path]:
        """What may be objects or lead to some, directly in a folder."""
        try:
            return [path for path in (self._root / folder).iterdir() if not path.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            if not self._root.is_dir():
                raise
            return []

    def _present(self, read: Callable[[], T]) -> T:
        """What `read` gives; what is not there is missing only as long as the root is."""
        try:
            return read()
        except (FileNotFoundError, IsADirectoryError) as error:
            if not self._root.is_dir():
                raise
            raise ObjectMissingError from error


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it in a thread; an `OSError` becomes `ObjectStoreUnavailableError`."""
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except OSError as error:
        raise ObjectStoreUnavailableError from error


async def _read_ahead(descriptor: int, start: int, stop: int | None) -> AsyncIterator[bytes]:
    def after(place: int) -> "asyncio.Task[bytes]":
        wanted = CHUNK_BYTES if stop is None else min(CHUNK_BYTES, stop - place)
        return asyncio.create_task(asyncio.to_thread(os.pread, descriptor, max(0, wanted), place))

    def close(done: "asyncio.Task[bytes]") -> None:
        os.close(descriptor)
        if not done.cancelled():
            done.exception()

    reading = after(start)
    try:
        while chunk := await asyncio.shield(reading):  # a thread that reads cannot be cancelled
            start += len(chunk)
            reading = after(start)
            yield chunk
    finally:
        reading.add_done_callback(close)
