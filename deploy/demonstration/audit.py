"""The audit trail of the demo's workspace: every accepted version once and in order, in a chain that verifies."""

import asyncio
import time
from typing import Any

from deploy.demonstration.ledger import Ledger
from deploy.progress import say

ARRIVAL_SECONDS = 30.0


async def verify(ledger: Ledger) -> None:
    """Wait until the log has the newest version of each document, then hold it against the ledger."""
    begun = time.monotonic()
    entries = await _complete_log(ledger)
    for document in ledger.documents:
        logged = [entry["version"] for entry in entries if entry["entity_id"] == document.id]
        ledger.check(
            logged == list(range(1, len(logged) + 1)) and set(document.contents) <= set(logged),
            f"{document.name}: the log has versions {logged}",
        )
    chain = await _verify_chain(ledger)
    ledger.check(chain["intact"], f"the log's chain is broken at {chain['broken_at']}")
    ledger.check(chain["seq"] >= len(entries) > 0, f"the chain has {chain['seq']} entries, the log {len(entries)}")
    actors = {entry["actor"] for entry in entries}
    ledger.check({ledger.ada.id, ledger.ben.id} <= actors, f"the log names {actors}")
    say(
        f"  {'audit trail':<16} {len(entries):,} events, each version of each document once and in order; "
        f"chain of {chain['seq']:,} verified up to {chain['hash'][:12]} ({time.monotonic() - begun:.1f} s)"
    )
    if entries:
        newest = entries[-1]
        say(f"  {'':<16} newest: {newest['type']} by {newest['actor']} from {newest['client_ip']}")


async def _complete_log(ledger: Ledger) -> list[dict[str, Any]]:
    """The whole log, oldest first, as soon as nothing is missing; events take a moment."""
    expected = {(document.id, document.version) for document in ledger.documents}
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while True:
        entries = await ledger.ada.pages("/v1/sync/log", "audit log", workspace_id=ledger.workspace_id)
        missing = expected - {(entry["entity_id"], entry["version"]) for entry in entries}
        if not missing or time.monotonic() > deadline:
            ledger.check(not missing, f"the log lacks {len(missing):,} versions")
            return entries[::-1]
        await asyncio.sleep(0.2)


async def _verify_chain(ledger: Ledger) -> dict[str, Any]:
    after = "0"
    while True:
        params = {"workspace_id": ledger.workspace_id, "after": after}
        answer = await ledger.ada.call("GET", "/v1/sync/log/verify", kind="verify log", params=params)
        checked: dict[str, Any] = answer.json()
        if checked["complete"]:
            return checked
        after = str(checked["seq"])
