"""What other services decide by is a copy: it is asked for anew when its owner has announced something newer."""

import asyncio
from typing import Any
from uuid import UUID

from common.testing.fleet import Fleet
from common.testing.people import People, Person


async def role_at(fleet: Fleet, person: Person, root: str) -> str | None:
    """What sync decides after it has made sure of its copies."""
    platform: Any = fleet["sync"].app.state.platform
    await platform.access.refresh(person.id)
    async with platform.database.transaction(person.id) as transaction:
        [row] = await transaction.all("SELECT sync.my_role(%(root)s) AS role", {"root": root})
    role: str | None = row["role"]
    return role


async def announced(fleet: Fleet, root: str, version: int) -> None:
    roots = fleet["sync"].app.state.platform.revocations.roots
    async with asyncio.timeout(5):
        while roots.get(UUID(root), 0) < version:
            await asyncio.sleep(0.01)


async def test_who_had_a_grant_loses_it_when_the_document_went_through_two_other_workspaces(
    fleet: Fleet, people: People
) -> None:
    """Nobody asked in between, and no event has come: the last announcement names a workspace Bo is not in."""
    ada, bo = await people.person("Ada"), await people.person("Bo")
    first, second, third = [await people.workspace(ada) for _ in range(3)]
    await people.join(first, bo, "viewer")
    document = (await people.document(ada, first))["id"]
    path, grants = f"/v1/documents/{document}", {f"user:{ada.id}": "owner", f"user:{bo.id}": "editor"}
    given = await ada.http.put(f"{path}/access", json={"restricted": True, "grants": grants})
    assert given.status_code == 200
    await announced(fleet, document, 1)
    await fleet["sync"].app.state.platform.access.learn(bo.id)
    assert await role_at(fleet, bo, document) == "editor"
    for place in (second, third):
        moved = await ada.http.post(f"{path}/move", json={"workspace_id": place, "folder_id": None})
        assert moved.status_code == 200, moved.text
    await announced(fleet, document, 3)
    assert await role_at(fleet, bo, document) is None
