"""What one run leaves for the next: a login, ids and hashes, so that it can say whether data survived."""

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from deploy.client import Api, Person, UnexpectedAnswerError, at_most, digest
from deploy.demonstration.ledger import AT_ONCE, Ledger
from deploy.local.machine import own_file

FILE = "demo.json"


def remember(folder: Path, ledger: Ledger, password: str) -> None:
    """Keep what this run made; only the owner can read the file."""
    run = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "address": ledger.ada.email,
        "password": password,
        "documents": {
            document.id: {str(n): digest(content) for n, content in document.contents.items()}
            for document in ledger.documents
        },
    }
    own_file(folder / FILE, json.dumps(run), None)


async def verify(api: Api, folder: Path) -> tuple[str, list[str]]:
    """What became of the run before: a line to print, and what is off."""
    try:
        run: dict[str, Any] = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return "none yet", []
    try:
        person = await api.sign_in(run["address"], run["password"])
    except UnexpectedAnswerError as error:
        return "LOST", [f"the login of the run of {run['at']} does not work: {error} (delete {FILE} if that is meant)"]
    documents: dict[str, dict[str, str]] = run["documents"]
    found = await at_most(AT_ONCE, [partial(_differences, person, *item) for item in documents.items()])
    wrong = [f"earlier run of {run['at']}: {difference}" for differences in found for difference in differences]
    versions = sum(map(len, documents.values()))
    said = "DAMAGED" if wrong else "every byte is still there"
    return f"{run['at']}: {len(documents):,} documents, {versions:,} versions, {said}", wrong


async def _differences(person: Person, document_id: str, hashes: dict[str, str]) -> list[str]:
    wrong = []
    newest = max(hashes, key=int)
    paths = {f"/v1/documents/{document_id}/content": hashes[newest]}
    paths |= {f"/v1/documents/{document_id}/versions/{n}/content": expected for n, expected in hashes.items()}
    for path, expected in paths.items():
        answer = await person.call("GET", path, kind="earlier run", expect=())
        if answer.status != 200:
            wrong.append(f"{path} answers {answer.status} {answer.problem()}")
        elif digest(answer.body) != expected:
            wrong.append(f"{path} has other bytes than were saved")
    return wrong
