"""Uploads in parts in a local folder: `.uploads/<id>/` holds the object's key and the parts by number.

Everything here blocks: call it in a thread.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from common.objects.durable import Draft, aside, make_folders, remove_folder, sync_folder
from common.objects.errors import ObjectMissingError, PartsMismatchError
from common.objects.store import Part, Unfinished

UPLOADS: Final = ".uploads"
"""Not a name an object can have."""
MANIFEST: Final = "key"
ID: Final = re.compile(r"[0-9a-f]{32}")


class Uploads:
    """Those below one root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / UPLOADS

    def begin(self, key: str) -> str:
        """Make an upload that is never seen without its key."""
        make_folders(self._root, self._folder)
        upload = secrets.token_hex(16)
        folder = aside(self._root)
        folder.mkdir()
        with Draft(self._root) as draft:
            draft.write([key.encode()])
            draft.replace(folder / MANIFEST)
        folder.replace(self._folder / upload)
        sync_folder(self._folder)
        return upload

    def part_path(self, key: str, upload: str, number: int) -> Path:
        """Where a part lies. Raises `ObjectMissingError` if there is no such upload of this key."""
        return self._of(key, upload) / str(number)

    def parts(self, key: str, upload: str) -> list[Part]:
        """What was received, in order of number. Raises `ObjectMissingError`."""
        paths = [path for path in self._of(key, upload).iterdir() if path.name != MANIFEST]
        return sorted((_part(path) for path in paths), key=lambda part: part.number)

    def complete(self, key: str, upload: str, parts: Sequence[Part], path: Path) -> None:
        """Put the parts together at `path`, then drop them; go on where a former call was killed."""
        try:
            folder = self._of(key, upload)
            if not path.is_file():
                self._assemble(folder, parts, path)
        except (ObjectMissingError, PartsMismatchError):
            if not path.is_file():  # else another call was faster
                raise
        self.abort(key, upload)

    def abort(self, key: str, upload: str) -> None:
        """Drop an upload and its parts, if there is one."""
        with suppress(ObjectMissingError):
            remove_folder(self._root, self._of(key, upload))

    def unfinished(self) -> Iterator[Unfinished]:
        """All that there are."""
        if not self._root.is_dir():
            raise NotADirectoryError(self._root)
        for folder in self._folder.glob("*"):
            with suppress(FileNotFoundError):  # it has just been completed
                manifest = folder / MANIFEST
                yield Unfinished(manifest.read_text(), folder.name, manifest.stat().st_mtime)

    def _of(self, key: str, upload: str) -> Path:
        folder = self._folder / upload
        if not ID.fullmatch(upload) or not self._is_of(key, folder):
            raise ObjectMissingError("no such upload")
        return folder

    def _is_of(self, key: str, folder: Path) -> bool:
        try:
            return (folder / MANIFEST).read_text() == key
        except FileNotFoundError:
            if not self._root.is_dir():
                raise
            return False

    def _assemble(self, folder: Path, parts: Sequence[Part], path: Path) -> None:
        numbers = [part.number for part in parts]
        if not numbers or numbers != sorted(set(numbers)):
            raise PartsMismatchError("at least one part, each once and in order")
        make_folders(self._root, path.parent)
        with Draft(self._root) as draft:
            for part in parts:
                self._append(draft, folder / str(part.number), part)
            with suppress(FileExistsError):
                draft.publish(path)

    def _append(self, draft: Draft, path: Path, part: Part) -> None:
        try:
            same = _part(path) == part
            if same and draft.append(path) == part.size:
                return
        except FileNotFoundError as error:
            raise PartsMismatchError(f"part {part.number} was not received") from error
        raise PartsMismatchError(f"part {part.number} is another one now")


def _part(path: Path) -> Part:
    stat = path.stat()
    return Part(int(path.name), stat.st_size, f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"')


def etag(path: Path) -> str:
    """The part's, without reading it: it is written once and renamed."""
    return _part(path).etag
