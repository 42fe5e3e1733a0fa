"""Import, and two people who save at the same time: nothing accepted may be missing, nothing refused may be stored."""

import asyncio
import json
import re
import secrets
from base64 import b64encode
from hashlib import sha256
from uuid import uuid4

from deploy.client import Answer, Person, digest
from deploy.demonstration.ledger import Document, Ledger
from deploy.demonstration.tree import DOCUMENT_LIMIT, Found

ENVELOPE_BYTES = 4096
LINES_NEEDED = 8
EDITED_BYTES = 1024 * 1024


async def import_file(ledger: Ledger, found: Found, author: Person) -> Document:
    """Make a document of a file; one that only fits in raw form is created empty, then saved as bytes."""
    fits = len(json.dumps(found.content.decode(), ensure_ascii=False).encode()) < DOCUMENT_LIMIT - ENVELOPE_BYTES
    first = found.content if fits else b""
    answer = await author.create(ledger.workspace_id, found.name, first, key=str(uuid4()))
    made = answer.json()
    document = Document(made["id"], found.name, made["version"], {made["version"]: first})
    ledger.check(answer.version == made["version"] == 1, f"{found.name}: a new document has version {made['version']}")
    if not fits:
        answer = await author.save(document.id, found.content, 1)
        document.accept(answer, found.content)
        made = answer.json()
    right = (made["content_hash"], made["size"]) == (digest(found.content), len(found.content))
    ledger.check(right, f"{found.name}: hash or size in the answer are not those of the file")
    return document


async def verify(ledger: Ledger, document: Document, reader: Person) -> None:
    """Bytes back equal bytes sent, and the digest says so too."""
    answer = await reader.content(document.id)
    expected = document.content
    if answer.body != expected:
        ledger.check(False, f"{document.name}: {_difference(expected, answer.body)}")
    told = f"sha-256=:{b64encode(sha256(expected).digest()).decode()}:"
    ledger.check(answer.headers.get("Content-Digest") == told, f"{document.name}: Content-Digest is not its digest")
    ledger.check(answer.version == document.version, f"{document.name}: ETag {answer.version}, not {document.version}")


def _difference(expected: bytes, got: bytes) -> str:
    at = next((i for i, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b), min(len(expected), len(got)))
    return f"bytes differ from byte {at:,} on ({len(expected):,} expected, {len(got):,} came)"


def editable(document: Document) -> bool:
    """Whether there is room for two edits that do not touch, and the text is not so large that it takes long."""
    return len(document.content) <= EDITED_BYTES and document.content.count(b"\n") >= LINES_NEEDED


def place_for_line(content: bytes, share: float) -> int:
    """Where a new line can go: behind `share` (0 to 1) of the line ends."""
    ends = [match.end() for match in re.finditer(b"\n", content)]
    return ends[int(share * (len(ends) - 1))]


def insert_line(content: bytes, at: int, text: str) -> bytes:
    """`content` with one line more at a place found by `place_for_line`, in the line end used there."""
    end = b"\r\n" if content[:at].endswith(b"\r\n") else b"\n"
    return content[:at] + text.encode() + end + content[at:]


async def save_disjoint(ledger: Ledger, document: Document) -> None:
    """Both save on the same base, in different places, at the same time: one is merged, both edits are in the text."""
    base, version = document.content, document.version
    ada_line, ben_line = f"Ada adds {secrets.token_hex(4)} here.", f"Ben adds {secrets.token_hex(4)} there."
    early, late = place_for_line(base, 0.25), place_for_line(base, 0.75)
    texts = (insert_line(base, early, ada_line), insert_line(base, late, ben_line))
    answers = await asyncio.gather(
        *(person.save(document.id, text, version) for person, text in zip((ledger.ada, ledger.ben), texts, strict=True))
    )
    both = insert_line(insert_line(base, late, ben_line), early, ada_line)
    first, second = _in_order(answers)
    _accept_both(ledger, document, first, texts[answers.index(first)], second, both)


async def append_both(ledger: Ledger, document: Document) -> None:
    """Both append to the same base at the same time: both additions stay, in the order they arrived."""
    base, version = document.content, document.version
    additions = [f"\nAda appends {secrets.token_hex(4)}.\n", f"\nBen appends {secrets.token_hex(4)}.\n"]
    answers = await asyncio.gather(
        *(
            person.edit(document.id, [{"append": text}], version)
            for person, text in zip((ledger.ada, ledger.ben), additions, strict=True)
        )
    )
    first, second = _in_order(answers)
    alone = base + additions[answers.index(first)].encode()
    both = alone + additions[answers.index(second)].encode()
    _accept_both(ledger, document, first, alone, second, both)


def _in_order(answers: list[Answer]) -> tuple[Answer, Answer]:
    first, second = sorted(answers, key=lambda answer: int(answer.json()["version"]))
    return first, second


def _accept_both(ledger: Ledger, document: Document, first: Answer, alone: bytes, second: Answer, both: bytes) -> None:
    start = document.version
    versions = [first.json()["version"], second.json()["version"]]
    ledger.check(versions == [start + 1, start + 2], f"{document.name}: two saves on v{start} made versions {versions}")
    ledger.check(not first.json()["merged"], f"{document.name}: the first save on v{start} says it was merged")
    ledger.check(second.json()["merged"] is True, f"{document.name}: the second save on v{start} was not merged")
    ledger.check(second.json()["content_hash"] == digest(both), f"{document.name}: the merge is not both edits")
    document.accept(first, alone)
    document.accept(second, both)
    ledger.merges += 1


async def save_overlapping(ledger: Ledger, document: Document) -> None:
    """Both rewrite the same line on the same base: one is refused, keeps its text and brings it in again."""
    base, version = document.content, document.version
    words = [f"ada{secrets.token_hex(6)}", f"ben{secrets.token_hex(6)}"]
    texts = [_rewritten(base, word) for word in words]
    people = (ledger.ada, ledger.ben)
    answers = await asyncio.gather(
        *(
            person.save(document.id, text, version, expect=(200, 412))
            for person, text in zip(people, texts, strict=True)
        )
    )
    statuses = sorted(answer.status for answer in answers)
    if not ledger.check(statuses == [200, 412], f"{document.name}: overlapping saves answered {statuses}"):
        return
    won = 0 if answers[0].status == 200 else 1
    document.accept(answers[won], texts[won])
    ledger.conflicts += 1
    refusal = answers[1 - won]
    told = (refusal.code, refusal.json()["version"])
    ledger.check(told == ("edit_conflict", document.version), f"{document.name}: the refusal says {told}")
    await _redo(ledger, document, people[1 - won], words[1 - won])


async def _redo(ledger: Ledger, document: Document, loser: Person, line: str) -> None:
    """Read what is there now, put the refused line below it, save again."""
    current = await loser.content(document.id)
    ledger.check(current.body == document.content, f"{document.name}: a refused save left something behind")
    again = insert_line(current.body, place_for_line(current.body, 0.5), line)
    document.accept(await loser.save(document.id, again, current.version), again)


def _rewritten(base: bytes, word: str) -> bytes:
    """`base` with a line in its middle that says something replaced by one word."""
    lines = base.split(b"\n")
    said = [index for index, line in enumerate(lines) if line.strip()]
    place = said[len(said) // 2] if said else 0
    end = b"\r" if lines[place].endswith(b"\r") else b""
    lines[place] = word.encode() + end
    return b"\n".join(lines)
