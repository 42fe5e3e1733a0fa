"""After the storm: is every acknowledged write there by its bytes, and in the log once and in order?"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg

from common.revisions import schema_of
from deploy.chaos.load import Crowd
from deploy.client import Person, at_most, digest

REST_SECONDS = 2.0
"""Without a new entry for so long, the log is at rest: a double has had time to come."""
STANDSTILL_SECONDS = 30.0
"""Longer than it takes to notice a dead line, and than anything in the bus waits before it tries again."""
READERS = 16
EXAMPLES = 5


@dataclass
class Verdict:
    """What is wrong, by kind; all empty is what must be."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    entries: int = 0
    waited: float = 0.0
    """Seconds until the log had everything."""

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.out_of_order)


async def judge(crowd: Crowd, standstill: float) -> Verdict:
    """Read everything back and hold it against the ledger.

    What is missing after `standstill` seconds without a new entry is lost.
    """
    verdict = Verdict()
    await _contents(crowd, verdict)
    await _shared_lines(crowd, verdict)
    await _documents(crowd, verdict)
    await _log(crowd, verdict, standstill)
    await _own_logs(crowd, verdict)
    return verdict


async def _contents(crowd: Crowd, verdict: Verdict) -> None:
    """Each acknowledged version by its bytes."""

    async def check(number: int, document_id: str, version: int, expected: str) -> None:
        reader = crowd.people[number % len(crowd.people)]
        path = f"/v1/documents/{document_id}/versions/{version}/content"
        answer = await reader.call("GET", path, kind="verify", expect=())
        if answer.status != 200 or digest(answer.body) != expected:
            verdict.lost.append(f"content of {document_id} v{version}: {answer.status}")

    items = crowd.ledger.contents.items()
    await at_most(READERS, [partial(check, n, *place, expected) for n, (place, expected) in enumerate(items)])


async def _shared_lines(crowd: Crowd, verdict: Verdict) -> None:
    """What each person added to the shared document, once."""
    present = Counter((await crowd.people[0].content(crowd.shared_id)).body.decode().splitlines())
    for line in crowd.ledger.lines.get(crowd.shared_id, []):
        if present[line] != 1:
            (verdict.doubled if present[line] else verdict.lost).append(f"line {line!r}: {present[line]} times")


async def _documents(crowd: Crowd, verdict: Verdict) -> None:
    """As many documents as were created; what was trashed is in the trash."""
    listed = {}
    for state in ("active", "trashed"):
        for item in await crowd.people[0].pages("/v1/documents", "list", workspace_id=crowd.workspace_id, state=state):
            listed[item["id"]] = state
    verdict.doubled += [f"document {one}" for one in listed.keys() - crowd.ledger.created - {crowd.shared_id}]
    verdict.lost += [f"document {one}" for one in crowd.ledger.created - listed.keys()]
    verdict.lost += [f"trashing of {one}" for one in crowd.ledger.trashed if listed.get(one) != "trashed"]


async def _log(crowd: Crowd, verdict: Verdict, standstill: float) -> None:
    """Each acknowledged change once, each entity's in order and without a gap, and the chain intact."""
    expected = set(crowd.ledger.contents) | crowd.ledger.changes
    begun = progressed = time.monotonic()
    known = 0
    while True:
        entries = await crowd.people[0].pages("/v1/sync/log", "log", workspace_id=crowd.workspace_id)
        missing = expected - {(entry["entity_id"], entry["version"]) for entry in entries}
        verdict.waited = time.monotonic() - begun
        if len(entries) > known:
            known, progressed = len(entries), time.monotonic()
        at_rest = time.monotonic() > progressed + REST_SECONDS
        if (not missing and at_rest) or time.monotonic() > progressed + standstill:
            break
        await asyncio.sleep(0.5)
    verdict.entries = len(entries)
    verdict.lost += [f"log entry of {entity} v{version}" for entity, version in missing]
    verdict.doubled += [f"log entry of {place}" for place, n in _counted(entries).items() if n > 1]
    unasked = _contents_of(entries) - set(crowd.ledger.contents)
    verdict.doubled += [f"content nobody was told of: {place}" for place in unasked]
    _order(entries[::-1], verdict)
    await _chain(crowd.people[0], {"workspace_id": crowd.workspace_id}, len(entries), verdict)


async def _chain(person: Person, params: dict[str, str], length: int, verdict: Verdict) -> None:
    chain = (await person.call("GET", "/v1/sync/log/verify", params=params)).json()
    if not (chain["intact"] and chain["complete"] and chain["seq"] == length):
        verdict.out_of_order.append(f"chain: {chain}")


def _contents_of(entries: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """Content versions the log tells of."""
    states = [(entry["entity_id"], entry["version"], entry["data"]) for entry in entries]
    return {(entity, version) for entity, version, data in states if data.get("content_version") == version}


def _counted(entries: list[dict[str, Any]]) -> Counter[tuple[str, int]]:
    return Counter((entry["entity_id"], entry["version"]) for entry in entries)


def _order(entries: list[dict[str, Any]], verdict: Verdict, *, whole: bool = True) -> None:
    """Entries oldest first: seq counts from 1, each entity's version rises, and if the log is `whole`, from 1 by 1."""
    versions: dict[str, list[int]] = defaultdict(list)
    for number, entry in enumerate(entries, 1):
        versions[entry["entity_id"]].append(entry["version"])
        if entry["seq"] != number:
            verdict.out_of_order.append(f"entry {number} has number {entry['seq']}")
    for entity, found in versions.items():
        if found != (list(range(1, len(found) + 1)) if whole else sorted(set(found))):
            verdict.out_of_order.append(f"{entity}: {found}")


async def _own_logs(crowd: Crowd, verdict: Verdict) -> None:
    """Each person's own log: in order, chained, and with the names they gave themselves."""
    for person in crowd.people:
        entries = await person.pages("/v1/sync/log", "own log")
        told = {entry["data"].get("display_name") for entry in entries}
        verdict.lost += [f"name {name}" for name in crowd.ledger.names.get(person.id, []) if name not in told]
        verdict.doubled += [f"own log entry of {place}" for place, n in _counted(entries).items() if n > 1]
        _order(entries[::-1], verdict, whole=False)  # what concerned others only is not in it
        await _chain(person, {}, len(entries), verdict)


async def projections(
    admin_url: str, services: Sequence[str], crowd: Crowd, verdict: Verdict, standstill: float
) -> None:
    """Every service has heard of the workspace's last name."""
    expected = (await crowd.people[0].call("GET", f"/v1/workspaces/{crowd.workspace_id}")).json()["name"]
    behind: list[str] = []
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as admin:
        deadline = time.monotonic() + standstill
        while time.monotonic() < deadline:
            names = {name: await _name_in(admin, schema_of(name), crowd.workspace_id) for name in services}
            behind = [name for name in services if names[name] != expected]
            if not behind:
                return
            await asyncio.sleep(0.5)
    verdict.lost += [f"the workspace's name in {name}" for name in behind]


async def _name_in(admin: psycopg.AsyncConnection, schema: str, workspace_id: str) -> str | None:
    statement = f"SELECT name FROM {schema}.access_workspace WHERE workspace_id = %s"
    row = await (await admin.execute(statement, (workspace_id,))).fetchone()
    return row[0] if row else None
