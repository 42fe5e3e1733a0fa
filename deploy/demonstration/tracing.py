"""One save in a trace of its own: the id to look at with `make trace`, and whether its spans arrived."""

import asyncio
import secrets
import time
from pathlib import Path

from common.telemetry import read_spans
from deploy.demonstration.ledger import Document, Ledger

SPANS_SECONDS = 10.0


async def save_traced(ledger: Ledger, document: Document, spans: Path) -> None:
    """Save once with a sampled `traceparent`; the service's span and its SQL must appear in the span files."""
    ledger.trace_id = secrets.token_hex(16)
    headers = {"traceparent": f"00-{ledger.trace_id}-{secrets.token_hex(8)}-01"}
    text = document.content + b"\nOne more line, in a trace of its own.\n"
    document.accept(await ledger.ada.save(document.id, text, document.version, headers=headers), text)
    names = await _names(spans, ledger.trace_id)
    ledger.check("PUT /v1/documents/{document_id}/content" in names, f"trace {ledger.trace_id} has no span of the save")
    ledger.check(any(name.startswith("SQL ") for name in names), f"trace {ledger.trace_id} has no span of its SQL")


async def _names(spans: Path, trace_id: str) -> list[str]:
    """Names of the trace's spans; services write them with half a second's delay."""
    deadline = time.monotonic() + SPANS_SECONDS
    while time.monotonic() < deadline:
        found = await asyncio.to_thread(read_spans, spans, trace_id)
        if any(item["name"].startswith("PUT ") for item in found):
            return [item["name"] for item in found]
        await asyncio.sleep(0.1)
    return []
