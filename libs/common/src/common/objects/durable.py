"""Files that are there as a whole or not at all, whenever the process is killed or the power goes.

Written aside, flushed to the disk, then named, and the name flushed too. What a killed writer leaves lies below
`WRITING` until `sweep`. Everything here blocks: call it in a thread.
"""

import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE, S_ISGID
from typing import Final

WRITING: Final = ".writing"
"""Not a name an object can have."""
COPY_BYTES: Final = 16 * 1024 * 1024
FLUSH_BYTES: Final = 8 * 1024 * 1024


class Draft:
    """A file in the making below `root`, which itself is never made: it may be a mount that is lost.

    Use it as a context: whatever was not named is gone in the end.
    """

    def __init__(self, root: Path) -> None:
        self._path = aside(root)
        self._file = self._path.open("xb")
        self._flushed = 0

    def __enter__(self) -> "Draft":
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def write(self, pieces: Iterable[bytes]) -> None:
        """Append."""
        for piece in pieces:
            self._file.write(piece)
        self._start_flush(self._file.tell())

    def append(self, source: Path) -> int:
        """Append a file, without its bytes leaving the kernel; return their number."""
        self._file.flush()
        copied = 0
        with source.open("rb") as file:
            while sent := os.sendfile(self._file.fileno(), file.fileno(), copied, COPY_BYTES):
                copied += sent
                self._start_flush(os.fstat(self._file.fileno()).st_size)
        return copied

    def publish(self, path: Path) -> None:
        """Give it this name, and to the group of a folder with the set-group-ID bit the right to read it.

        Raises `FileExistsError` if the name is taken.
        """
        self._share(path.parent)
        self._sync()
        os.link(self._path, path)  # a rename would replace what is there
        sync_folder(path.parent)

    def replace(self, path: Path) -> None:
        """Give it this name, whoever had it."""
        self._sync()
        self._path.replace(path)
        sync_folder(path.parent)

    def discard(self) -> None:
        """Drop the draft; what has its name stays."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _start_flush(self, size: int) -> None:
        """Let the kernel begin to write, so that the last flush does not wait for all of it (`DONTNEED` does so)."""
        if size - self._flushed >= FLUSH_BYTES:
            os.posix_fadvise(self._file.fileno(), self._flushed, size - self._flushed, os.POSIX_FADV_DONTNEED)
            self._flushed = size

    def _share(self, folder: Path) -> None:
        found = folder.stat()
        if found.st_mode & S_ISGID:
            os.fchown(self._file.fileno(), -1, found.st_gid)
            os.fchmod(self._file.fileno(), 0o640)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def aside(root: Path) -> Path:
    """A path nobody uses, for what is not finished."""
    folder = root / WRITING
    folder.mkdir(exist_ok=True)
    return folder / secrets.token_hex(16)


def make_folders(root: Path, folder: Path) -> None:
    """Make `folder` and those between it and `root`, durably; below a shared one (`Draft.publish`) as open as that."""
    if folder == root or folder.is_dir():
        return
    make_folders(root, folder.parent)
    folder.mkdir(exist_ok=True)
    mode = folder.parent.stat().st_mode
    if mode & S_ISGID:
        folder.chmod(S_IMODE(mode))
    sync_folder(folder.parent)


def remove_folder(root: Path, folder: Path) -> None:
    """Remove with all that is in it: at once for whoever looks, then for good. May be repeated."""
    grave = aside(root)
    with suppress(FileNotFoundError):
        folder.replace(grave)
        shutil.rmtree(grave)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def left_behind(root: Path, older_than_seconds: float) -> Iterator[Path]:
    """What killed writers left and nobody has written to for so long."""
    before = time.time() - older_than_seconds
    for left in (root / WRITING).glob("*"):
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < before:
                yield left


def sweep(root: Path, older_than_seconds: float) -> None:
    """Remove `left_behind`."""
    for left in left_behind(root, older_than_seconds):
        with suppress(FileNotFoundError):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
