"""Versions, diffs, restore and trash of documents two people have worked on."""

from itertools import pairwise

from deploy.client import Person
from deploy.demonstration.ledger import Document, Ledger
from deploy.demonstration.patch import PatchError, apply_patch


async def verify_versions(ledger: Ledger, document: Document) -> None:
    """The list names every accepted content once, newest first, with its people; each one's bytes are still there."""
    path = f"/v1/documents/{document.id}/versions"
    versions = await ledger.ada.pages(path, "list versions")
    expected = sorted(document.contents, reverse=True)
    ledger.check([item["n"] for item in versions] == expected, f"{document.name}: the list of versions is not complete")
    both = {ledger.ada.id, ledger.ben.id}
    for item in versions:
        people = set(item["contributors"])
        named = item["author_id"] in people and (both <= people or not item["merged"])
        ledger.check(named, f"{document.name}: v{item['n']} does not name who wrote it")
    for n in expected:
        answer = await ledger.ben.call("GET", f"{path}/{n}/content", kind="read version")
        ledger.check(answer.body == document.contents[n], f"{document.name}: the bytes of v{n} are not those saved")


async def verify_diffs(ledger: Ledger, document: Document) -> None:
    """Applying the unified diff to the first version gives the newest, and to each version the one after it."""
    numbers = sorted(document.contents)
    pairs = {(numbers[0], numbers[-1]), *pairwise(numbers)}
    for old, new in sorted(pairs):
        path = f"/v1/documents/{document.id}/versions/{new}/diff"
        answer = await ledger.ada.call("GET", path, kind="diff", params={"against": str(old)})
        try:
            right = apply_patch(document.contents[old], answer.body) == document.contents[new]
        except PatchError:
            right = False
        ledger.check(right, f"{document.name}: the diff from v{old} does not lead to v{new}")


async def restore_first(ledger: Ledger, document: Document) -> None:
    """The first version becomes the newest one, byte for byte; the ones between stay."""
    first = min(document.contents)
    answer = await ledger.ben.call(
        "POST",
        f"/v1/documents/{document.id}/versions/{first}/restore",
        kind="restore version",
        headers={"If-Match": f'"v{document.version}"'},
    )
    document.accept(answer, document.contents[first])
    current = await ledger.ada.content(document.id)
    ledger.check(current.body == document.content, f"{document.name}: restored v{first} is not its bytes")


async def trash_and_take_back(ledger: Ledger, document: Document) -> None:
    """In the trash a document is listed there only and cannot be written; taken back it is what it was."""
    path = f"/v1/documents/{document.id}"
    seen = {"If-Match": f'"v{document.version}"'}
    await ledger.ada.call("DELETE", path, kind="trash", expect=(204,), headers=seen)
    in_trash = document.id in await listed(ledger.ben, ledger.workspace_id, state="trashed")
    ledger.check(in_trash, f"{document.name}: is not in the list of the trash")
    still_there = document.id in await listed(ledger.ben, ledger.workspace_id)
    ledger.check(not still_there, f"{document.name}: is in the trash and in the list")
    refused = await ledger.ben.save(document.id, b"too late", document.version, expect=())
    ledger.check(refused.code == "document_trashed", f"{document.name}: a save in the trash answered {refused.status}")
    answer = await ledger.ben.call("POST", f"{path}/restore", kind="take out of trash")
    document.version = int(answer.json()["version"])
    current = await ledger.ada.content(document.id)
    ledger.check(current.body == document.content, f"{document.name}: came back from the trash with other bytes")


async def listed(person: Person, workspace_id: str, **filters: str) -> set[str]:
    """Ids of all documents of a workspace."""
    items = await person.pages("/v1/documents", "list documents", workspace_id=workspace_id, **filters)
    return {item["id"] for item in items}
