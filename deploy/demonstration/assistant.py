"""The editor's AI: a question about a PDF answered with its page, a proposed edit taken over, and what that cost."""

import json
import secrets
import time
from typing import Any

import aiohttp

from deploy.client import Person
from deploy.demonstration.files import Shelf, pdf
from deploy.demonstration.ledger import Ledger
from deploy.progress import say

TERMS = "Cancellation is free until 14 days before departure."
QUESTION = "Until when is cancellation free?"
TRIP = b"# Trip\r\n\r\nWe meet at teh station.\n\n* bring *boots*\n* recieve your ticket\n"
MENDED = b"# Trip\r\n\r\nWe meet at the station.\n\n* bring *boots*\n* receive your ticket\n"


async def help_out(ledger: Ledger) -> None:
    """Play it in a workspace of its own; with a real model in place of the development provider, words may differ."""
    begun = time.monotonic()
    ada = ledger.ada
    workspace = await ada.make_workspace(f"Trips {secrets.token_hex(4)}")
    document = (await ada.create(workspace, "Trip", TRIP)).json()["id"]
    async with aiohttp.ClientSession() as session:
        terms = await Shelf(ledger, session, workspace, document, reader=ada).put(
            "terms.pdf", "application/pdf", pdf(TERMS)
        )
    body = {"file_id": terms["id"], "scope": "document", "document_id": document}
    context = (await ada.call("POST", "/v1/context-files", kind="context file", expect=(201,), body=body)).json()["id"]
    asked = {"action": "ask", "document_id": document, "context_file_ids": [context], "instructions": QUESTION}
    answer = (await ada.call("POST", "/v1/ai/assist", kind="ask", body=asked)).json()
    ledger.check("14 days" in answer["text"], f"asked about the PDF, the AI said {answer['text']!r}")
    cited = [(one["context_file_id"], one["page"]) for one in answer["citations"]]
    ledger.check(cited == [(context, 1)], f"the AI cites {cited} and not page 1 of the PDF")
    streamed = await ada.call("POST", "/v1/ai/assist", kind="ask, streamed", body={**asked, "stream": True})
    done = _events(streamed.body.decode())
    ledger.check(done["done"]["text"] == answer["text"], "streamed, the answer is another one")
    await _edit(ledger, ada, document)
    used = (await ada.call("GET", "/v1/ai/usage", kind="usage", params=_scope(workspace))).json()["items"]
    ledger.check([one["calls"] for one in used] == [3], f"the ledger has {used} of three calls")
    say(f"  {'assistant':<16} answered from page 1 of a PDF, mended two words; {used[0]['tokens']:,} tokens "
        f"({time.monotonic() - begun:.1f} s)")  # fmt: skip


async def _edit(ledger: Ledger, person: Person, document: str) -> None:
    """Have mistakes corrected: what is proposed is taken over as it is, and touches nothing else."""
    wanted = {"action": "fix", "document_id": document, "edit": True}
    proposed = (await person.call("POST", "/v1/ai/assist", kind="fix", body=wanted)).json()["edit"]
    await person.call(
        "PATCH",
        f"/v1/documents/{document}/content",
        kind="apply proposal",
        body={"edits": proposed["edits"]},
        headers={"If-Match": f'"v{proposed["base_version"]}"'},
    )
    text = (await person.call("GET", f"/v1/documents/{document}/content", kind="read")).body
    ledger.check(text == MENDED, f"after the proposal was applied the text is {text!r}")


def _scope(workspace: str) -> dict[str, str]:
    return {"scope": "workspace", "workspace_id": workspace}


def _events(stream: str) -> dict[str, Any]:
    """The last event of each name."""
    found = {}
    for block in stream.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found[lines["event"]] = json.loads(lines["data"])
    return found
