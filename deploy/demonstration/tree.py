"""Finds real Markdown: a folder, or by default this repository and the packages installed beside it.

Whatever cannot become a document is named with its reason; nothing is left out silently.
"""

import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SUFFIXES = (".md", ".markdown")
DOCUMENT_LIMIT = 10 * 1024 * 1024
TOTAL_LIMIT = 64 * 1024 * 1024
DEFAULT_DOCUMENTS = 500
UNENTERED = ("node_modules",)


@dataclass(frozen=True)
class Found:
    """A Markdown file as it is on disk."""

    name: str
    content: bytes


@dataclass
class Tree:
    """What was found; `skipped` is (name, reason), `left_out` counts files beyond the bounds."""

    place: str
    limit: int
    found: list[Found] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    left_out: int = 0
    unentered: int = 0
    size: int = 0

    def add_folder(self, folder: Path, prefix: str = "") -> None:
        """Take every Markdown file below `folder`, in a fixed order; hidden folders are counted, not entered."""
        for path in self._walk(folder):
            self.add_file(path, prefix + path.relative_to(folder).as_posix())

    def _walk(self, folder: Path) -> Iterator[Path]:
        def unreadable(error: OSError) -> None:
            self.skipped.append((_printable(str(error.filename)), f"cannot be listed: {error.strerror}"))

        for place, folders, files in os.walk(folder, onerror=unreadable):
            entered = sorted(name for name in folders if not name.startswith(".") and name not in UNENTERED)
            self.unentered += len(folders) - len(entered)
            folders[:] = entered
            for name in sorted(files):
                if name.lower().endswith(SUFFIXES):
                    yield Path(place, name)

    def add_file(self, path: Path, name: str) -> None:
        """Take one file, or note why not."""
        try:
            size = path.stat().st_size
            if size > DOCUMENT_LIMIT:
                self._skip(name, f"{size:,} bytes: more than a document may have ({DOCUMENT_LIMIT:,})")
            elif not path.is_file():
                self._skip(name, "not a regular file")
            elif len(self.found) >= self.limit or self.size + size > TOTAL_LIMIT:
                self.left_out += 1
            else:
                self.add(name, path.read_bytes())
        except OSError as error:
            self._skip(name, f"cannot be read: {error.strerror}")

    def add(self, name: str, content: bytes) -> None:
        """Take these bytes if they are text."""
        try:
            content.decode()
        except UnicodeDecodeError as error:
            self._skip(name, f"not UTF-8 (byte {error.start:,})")
            return
        if b"\0" in content:
            self._skip(name, f"not text (NUL at byte {content.index(0):,})")
            return
        self.found.append(Found(_printable(name), content))
        self.size += len(content)

    def _skip(self, name: str, reason: str) -> None:
        self.skipped.append((_printable(name), reason))


def of_folder(folder: Path, limit: int = DEFAULT_DOCUMENTS) -> Tree:
    """Markdown below one folder. Raises `NotADirectoryError`."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    tree = Tree(str(folder), limit)
    tree.add_folder(folder)
    return tree


def of_this_product(root: Path, limit: int = DEFAULT_DOCUMENTS) -> Tree:
    """Markdown of the repository and of installed packages, with the READMEs those carry in their metadata."""
    tree = Tree("this repository and the installed packages", limit)
    tree.add_folder(root, "repository/")
    packages = Path(sysconfig.get_path("purelib"))
    tree.add_folder(packages, "packages/")
    for metadata in sorted(packages.glob("*.dist-info/METADATA")):
        head, _, readme = metadata.read_bytes().partition(b"\n\n")
        if b"Description-Content-Type: text/markdown" in head and readme:
            tree.add(f"packages/{metadata.parent.name.removesuffix('.dist-info')}/README", readme)
    return tree


def _printable(name: str) -> str:
    """A file name as a title: valid text without control characters, its end if it is too long."""
    text = os.fsencode(name).decode(errors="replace")
    return "".join(character if character.isprintable() else "\ufffd" for character in text)[-400:]
