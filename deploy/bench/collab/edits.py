"""Real Yjs edits made ahead by pycrdt, and the documents that come of them."""

import random
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from pycrdt import Doc, Text, TransactionEvent

ROOT = "content"
FIRST_CLIENT = 1_000_000
LONG_WORDS = 160
"""Characters somebody types in a long document before the cursor goes elsewhere, at most."""


def text_of(updates: Iterable[bytes]) -> str:
    """The document that these updates make."""
    doc: Doc[Text] = Doc()
    root = doc.get(ROOT, type=Text)
    for update in updates:
        doc.apply_update(update)
    return str(root)


class Writer:
    """Somebody who types at the end of what he has typed; his edits only build on his own."""

    def __init__(self, number: int) -> None:
        self.updates: list[bytes] = []
        self.markers: list[bytes] = []
        self._number = number
        self._doc: Doc[Text] = Doc(client_id=FIRST_CLIENT + number)
        self._root = self._doc.get(ROOT, type=Text)
        self._length = 0
        self._subscription = self._doc.observe(self._made)

    def _made(self, event: TransactionEvent) -> None:
        self.updates.append(event.update)

    def ensure(self, count: int) -> None:
        """Make edits until there are so many."""
        for n in range(len(self.updates), count):
            marker = f"{self._number:03x}{n:05x}"
            self.markers.append(marker.encode())
            self._root.insert(self._length, f"~{marker};")
            self._length += len(marker) + 2


class Script:
    """Edits of some writers, the same for every document and server."""

    def __init__(self) -> None:
        self._writers: list[Writer] = []

    def writers(self, count: int, edits: int) -> list[Writer]:
        """So many writers with so many edits each, at least."""
        self._writers += [Writer(number) for number in range(len(self._writers), count)]
        for writer in self._writers[:count]:
            writer.ensure(edits)
        return self._writers[:count]


class LongDocument:
    """A document of very many single-character edits, kept in a file for the next run."""

    def __init__(self, folder: Path, count: int) -> None:
        self.count = count
        self.state = folder / f"long-{count}.state"
        self._updates = folder / f"long-{count}.updates"
        if not self._updates.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self._write(*_typed(count))

    def updates(self) -> list[bytes]:
        """Every edit, in order."""
        data, found, at = self._updates.read_bytes(), [], 0
        while at < len(data):
            (size,) = struct.unpack_from("<I", data, at)
            found.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        return found

    def text(self) -> str:
        """What it says."""
        return text_of([self.state.read_bytes()])

    def _write(self, updates: Sequence[bytes], state: bytes) -> None:
        self.state.write_bytes(state)
        draft = self._updates.with_suffix(".new")
        draft.write_bytes(b"".join(struct.pack("<I", len(update)) + update for update in updates))
        draft.replace(self._updates)


def _typed(count: int) -> tuple[list[bytes], bytes]:
    """Somebody types runs of characters here and there and takes some back."""
    chance = random.Random(7)
    doc: Doc[Text] = Doc(client_id=FIRST_CLIENT)
    root = doc.get(ROOT, type=Text)
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    length = cursor = 0
    while len(updates) < count:
        cursor = length if chance.random() < 0.6 else max(0, length - chance.randrange(2000))
        for _ in range(min(chance.randrange(1, LONG_WORDS), count - len(updates))):
            if cursor and chance.random() < 0.05:
                cursor, length = cursor - 1, length - 1
                del root[cursor : cursor + 1]
            else:
                root.insert(cursor, chance.choice("etaoin shrdlu"))
                cursor, length = cursor + 1, length + 1
    doc.unobserve(subscription)
    return updates, doc.get_update()
