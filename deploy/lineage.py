"""`make lineage ID=document`: give a damaged live document a new life from its newest version (docs/collab.md)."""

import asyncio
import json
import os
import sys
from uuid import UUID

from common.auth import ServiceIdentity
from common.client import InternalClient


async def begin_anew(document_id: UUID) -> int:
    """Ask collab for it, as collab; the new lineage."""
    keys = json.loads(os.environ["MDC_SERVICE_PUBLIC_KEYS"])
    identity = ServiceIdentity("collab", os.environ["COLLAB_SERVICE_KEY"], keys)
    client = InternalClient(identity, json.loads(os.environ["MDC_INTERNAL_URLS"]))
    try:
        answer = await client.post("collab", f"/internal/documents/{document_id}/lineage", {}, seconds=120)
    finally:
        await client.close()
    return int(answer["lineage"])


def main(arguments: list[str]) -> int:
    """Do it and say so."""
    if len(arguments) != 1 or not arguments[0]:
        sys.stderr.write("usage: make lineage ID=<document id>\n")
        return 2
    lineage = asyncio.run(begin_anew(UUID(arguments[0])))
    print(f"lineage {lineage}: whoever has the document open is told (4409), hands in a copy and opens it anew")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
