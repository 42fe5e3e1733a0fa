"""Where several come together at one moment, or somebody comes again when things are no longer as they were."""

import asyncio
import random
from datetime import datetime
from uuid import UUID

import psycopg
import pytest

from common.identifiers import uuid7
from common.testing.checks import problem
from common.testing.writing import save

from .device import Device
from .test_push import text_of

SETTLE_SECONDS = 10.0


@pytest.fixture
async def conflict(desk, people):
    """A document whose text is `server`, and the copy that says `mine`, with who wrote both."""
    ada, workspace, laptop = await desk()
    document = (await people.document(ada, workspace, "x\n"))["id"]
    await save(ada, document, 1, "server\n")
    [result] = await laptop.push(laptop.update(document, 1, "x\n", "mine\n"))
    copy = result["conflict_document_id"]
    await until(lambda: listed(ada, copy))
    return ada, workspace, laptop, document, copy


async def listed(person, copy):
    return copy in [one["copy_id"] for one in (await person.http.get("/v1/sync/conflicts")).json()["items"]]


async def until(true):
    async with asyncio.timeout(SETTLE_SECONDS):
        while not await true():
            await asyncio.sleep(0.05)


async def caught_up(device, holds):
    """Once the device holds that."""

    async def look():
        await device.pull()
        return holds(device.held)

    await until(look)


def resolve(person, copy, choice, **more):
    return person.http.post(f"/v1/sync/conflicts/{copy}/resolve", json={"choice": choice, **more})


async def test_what_is_deleted_for_good_is_purged_on_devices_and_does_not_come_back(desk, people):
    ada, workspace, laptop = await desk()
    document = await people.document(ada, workspace, "x\n")
    await laptop.bootstrap()
    await laptop.until(lambda device: document["id"] in device.documents())
    path = f"/v1/documents/{document['id']}"
    assert (await ada.http.delete(path)).status_code == 204
    assert (await ada.http.delete(path, params={"permanent": "true"})).status_code == 204
    told = []

    async def purged():
        told.extend(change for change in await laptop.pull() if change["id"] == document["id"])
        return bool(told) and told[-1]["kind"] == "purge"

    await until(purged)
    assert told[-1]["reason"] == "purged"
    assert document["id"] not in laptop.documents()
    laptop.compare()
    [edited] = await laptop.push(laptop.update(document["id"], 1, "x\n", "typed while away\n"))
    assert (edited["status"], edited["code"]) == ("rejected", "document_not_found")
    again = {"workspace_id": workspace, "parent_id": None, "title": "T", "content": "x\n"}
    [made] = await laptop.push(laptop.op("document", "create", document["id"], **again))
    assert (made["status"], made["code"]) == ("rejected", "document_exists")


async def make_member(owner, workspace, person, role):
    path = f"/v1/workspaces/{workspace}/members/{person.id}"
    assert (await owner.http.patch(path, json={"role": role})).status_code == 200


# Several at once


async def test_of_two_moves_at_once_both_are_done_and_one_counts(desk):
    ada, workspace, laptop = await desk()
    phone = await Device(ada).register()
    document = laptop.op("document", "create", workspace_id=workspace, title="T", content="x\n")
    folders = [laptop.op("folder", "create", workspace_id=workspace, title=f"F{n}") for n in range(3)]
    await laptop.push(document, *folders)
    for entity, moved in (("document", document["id"]), ("folder", folders[0]["id"])):
        for _ in range(12):
            places = random.sample([None, folders[1]["id"], folders[2]["id"]], 2)
            both = zip((laptop, phone), places, strict=True)
            pushes = [one.push(one.op(entity, "move", moved, parent_id=place)) for one, place in both]
            assert {result["status"] for [result] in await asyncio.gather(*pushes)} <= {"applied", "noop"}


async def test_an_edit_that_was_not_seen_wins_over_a_deletion_at_the_same_moment(desk, environment):
    """The edit waits for the row, and the deletion for the edit."""
    ada, workspace, laptop = await desk()
    phone = await Device(ada).register()
    made = laptop.op("document", "create", workspace_id=workspace, title="T", content="x\n")
    await laptop.push(made)
    async with await psycopg.AsyncConnection.connect(environment["DOCUMENTS_OWNER_DATABASE_URL"]) as connection:
        await connection.execute("SELECT 1 FROM documents.document WHERE id = %s FOR UPDATE", (made["id"],))
        edit = asyncio.create_task(laptop.push(laptop.update(made["id"], 1, "x\n", "edited\n")))
        await asyncio.sleep(0.3)
        gone = asyncio.create_task(phone.push(phone.op("document", "delete", made["id"], base_version=1)))
        await asyncio.sleep(0.3)
        await connection.rollback()
    [edited], [deleted] = await edit, await gone
    assert (edited["status"], deleted["status"], deleted["flags"]) == ("applied", "noop", ["kept"])
    assert (await ada.http.get(f"/v1/documents/{made['id']}")).json()["trashed_at"] is None


async def test_two_devices_make_the_same_folder_at_once(desk):
    """As all devices do that hand in what a restored server has lost."""
    ada, workspace, laptop = await desk()
    phone = await Device(ada).register()
    for _ in range(8):
        folder, document = str(uuid7()), str(uuid7())
        pushes = [
            one.push(
                one.op("folder", "create", folder, workspace_id=workspace, title="F"),
                one.op("document", "create", document, workspace_id=workspace, title="D", parent_id=folder),
            )
            for one in (laptop, phone)
        ]
        for results in await asyncio.gather(*pushes):
            assert {result["status"] for result in results} <= {"applied", "noop"}, results


async def test_polls_of_one_person_do_not_end_those_of_another(people, device):
    bob, eve = [await device(await people.person(name)) for name in ("Bob", "Eve")]
    for one in (bob, eve):
        while (await one.post("poll", cursor=one.cursor, timeout=0.1))["changed"]:
            await one.pull()
    waiting = asyncio.create_task(bob.post("poll", cursor=bob.cursor, timeout=2))
    await asyncio.sleep(0.1)
    await asyncio.gather(*(eve.post("poll", cursor=eve.cursor, timeout=0.2) for _ in range(6)))
    assert not waiting.done()
    assert not (await waiting)["changed"]


async def test_a_device_that_is_removed_stops_writing_at_once(desk, people, monkeypatch):
    """Also in the middle of a push: those that are left are not carried out."""
    from documents.service import Workbench

    run = Workbench.run

    async def slowly(self, *work, **more):
        await asyncio.sleep(0.2)
        return await run(self, *work, **more)

    monkeypatch.setattr(Workbench, "run", slowly)
    monkeypatch.setattr("documents.service.operations.PARALLEL", 1)
    ada, workspace, laptop = await desk()
    again = await people.sign_in(ada)
    await Device(again).register()
    ops = []
    for _ in range(16):
        document = (await people.document(ada, workspace, "x\n"))["id"]
        await save(ada, document, 1, "server\n")
        ops.append(laptop.update(document, 1, "x\n", "mine\n"))
    pushing = asyncio.create_task(ada.http.post("/v1/sync/push", json={"device_id": laptop.id, "ops": ops}, timeout=60))
    await asyncio.sleep(0.3)
    assert (await again.http.delete(f"/v1/sync/devices/{laptop.id}")).status_code == 204
    removed = datetime.now().astimezone()
    answer = await pushing
    assert answer.status_code == 401 or [one["status"] for one in answer.json()["results"]][-1] == "retry"
    made = (await again.http.get("/v1/documents", params={"workspace_id": workspace, "limit": 100})).json()["items"]
    copies = [datetime.fromisoformat(one["created_at"]) for one in made if "conflict copy" in one["title"]]
    assert all((one - removed).total_seconds() < 1.0 for one in copies)


# Coming again


async def test_a_repeated_operation_tells_nothing_of_what_was_lost_meanwhile(desk, people):
    ada, workspace, _ = await desk()
    bob = await people.person("Bob")
    await people.join(workspace, bob, "editor")
    document = (await people.document(ada, workspace, "top\n\nmiddle\n\nend\n", title="Plan"))["id"]
    laptop = await Device(bob).register()
    await save(ada, document, 1, "Ada's line\n\nmiddle\n\nend\n")
    renamed = await ada.http.patch(f"/v1/documents/{document}", json={"title": "Ada's"}, headers={"If-Match": '"v2"'})
    assert renamed.status_code == 200
    ops = [
        laptop.update(document, 1, "top\n\nmiddle\n\nend\n", "top\n\nmiddle\n\nend, says Bob\n"),
        laptop.op("document", "meta", document, base_version=1, title="Bob's"),
    ]
    merged, titled = await laptop.push(*ops)
    assert (merged["status"], "Ada's line" in merged["content"]) == ("merged", True)
    assert titled["overwritten"] == {"title": "Ada's"}
    assert (await ada.http.delete(f"/v1/workspaces/{workspace}/members/{bob.id}")).status_code == 204
    again = await laptop.push(*ops)
    assert [result["duplicate"] for result in again] == [True, True]
    assert "Ada" not in str(again)
    problem(await bob.http.get(again[0]["content_url"]), 404, "document_not_found")


async def test_who_was_refused_to_settle_a_conflict_may_later(conflict, people):
    ada, workspace, _, document, copy = conflict
    bob = await people.person("Bob")
    await people.join(workspace, bob, "viewer")
    await (await Device(bob).register()).bootstrap()
    await until(lambda: listed(bob, copy))
    assert (await resolve(bob, copy, "theirs")).status_code == 409
    await make_member(ada, workspace, bob, "editor")
    assert (await ada.http.delete(f"/v1/documents/{document}")).status_code == 204
    refused = await resolve(bob, copy, "mine", base_version=9)
    assert problem(refused, 409, "resolution_refused")["reason"] == "document_trashed"
    assert (await ada.http.post(f"/v1/documents/{document}/restore")).status_code == 200
    assert (await resolve(bob, copy, "mine", base_version=9)).status_code == 200
    assert (await resolve(bob, copy, "mine", base_version=9)).status_code == 200, "saying so again changes nothing"
    assert await text_of(ada, document) == "mine\n"


async def test_a_copy_that_was_taken_out_of_the_trash_is_settled_again(conflict):
    ada, _, _, _, copy = conflict
    for _ in range(2):
        assert (await resolve(ada, copy, "theirs")).status_code == 200
        assert (await ada.http.get(f"/v1/documents/{copy}")).json()["trashed_at"]
        assert (await ada.http.post(f"/v1/documents/{copy}/restore")).status_code == 200


async def test_an_edit_of_the_copy_is_not_settled_away(conflict, environment):
    ada, _, laptop, document, copy = conflict
    async with await psycopg.AsyncConnection.connect(environment["DOCUMENTS_OWNER_DATABASE_URL"]) as connection:
        await connection.execute("SELECT 1 FROM documents.document WHERE id = %s FOR UPDATE", (document,))
        settling = asyncio.create_task(resolve(ada, copy, "mine", base_version=2))
        await asyncio.sleep(0.3)
        editing = asyncio.create_task(laptop.push(laptop.update(copy, 1, "mine\n", "mine, and an hour of work\n")))
        await asyncio.sleep(0.3)
        await connection.rollback()
    settled, [edited] = await settling, await editing
    assert settled.status_code == 409 or "restored" in edited["flags"]
    assert "hour" in await text_of(ada, copy)
    assert (await ada.http.get(f"/v1/documents/{copy}")).json()["trashed_at"] is None


async def test_a_copy_that_is_not_as_it_was_seen_is_not_settled(conflict):
    ada, _, _, _, copy = conflict
    await save(ada, copy, 1, "mine, and an hour of work\n")
    assert problem(await resolve(ada, copy, "theirs", copy_version=1), 409, "resolution_refused")["reason"]
    assert (await ada.http.get(f"/v1/documents/{copy}")).json()["trashed_at"] is None
    assert (await resolve(ada, copy, "theirs", copy_version=2)).status_code == 200


async def test_after_a_conflict_titles_and_places_still_count(desk, people):
    ada, workspace, laptop = await desk()
    document = (await people.document(ada, workspace, "x\n"))["id"]
    await save(ada, document, 1, "server\n")
    folder = laptop.op("folder", "create", workspace_id=workspace, title="F")
    results = await laptop.push(
        folder,
        laptop.update(document, 1, "x\n", "mine\n"),
        laptop.op("document", "meta", document, title="Renamed"),
        laptop.op("document", "move", document, parent_id=folder["id"]),
        laptop.update(document, 1, "mine\n", "mine too\n"),
    )
    assert [result["status"] for result in results] == ["applied", "conflict", "applied", "applied", "blocked"]
    head = (await ada.http.get(f"/v1/documents/{document}")).json()
    assert (head["title"], head["folder_id"]) == ("Renamed", folder["id"])


async def test_a_text_made_for_one_place_does_not_land_in_another(desk, people):
    ada, private, laptop = await desk()
    shared, bob = await people.workspace(ada, "Shared"), await people.person("Bob")
    await people.join(shared, bob, "viewer")
    document = (await people.document(ada, private, "first\n"))["id"]
    moved = await ada.http.post(f"/v1/documents/{document}/move", json={"workspace_id": shared, "folder_id": None})
    assert moved.status_code == 200, moved.text
    again = laptop.op("document", "create", document, workspace_id=private, title="T", content="for me only\n")
    [result] = await laptop.push(again)
    assert result["status"] == "conflict"
    copy = result["conflict_document_id"]
    assert (await ada.http.get(f"/v1/documents/{copy}")).json()["workspace_id"] == private
    assert await text_of(ada, copy) == "for me only\n"
    problem(await bob.http.get(f"/v1/documents/{copy}"), 404, "document_not_found")


async def test_a_text_nobody_says_what_it_was_made_from_replaces_nothing(desk, people):
    ada, workspace, laptop = await desk()
    document = (await people.document(ada, workspace, "base\n"))["id"]
    await save(ada, document, 1, "others\n")
    [result] = await laptop.push(laptop.op("document", "update", document, base_version=2**53, content="blind\n"))
    assert (result["status"], await text_of(ada, document)) == ("conflict", "others\n")


async def test_a_merge_that_is_too_much_for_one_document_is_a_copy(desk, people, monkeypatch):
    from documents.errors import DocumentTooLargeError
    from documents.storage import BodyStore

    ada, workspace, laptop = await desk()
    base = "top\n\n" + "x" * 600 + "\n\nend\n"
    document = (await people.document(ada, workspace, base))["id"]
    await save(ada, document, 1, "a" * 300 + "\n\n" + base)
    prepare = BodyStore.prepare

    async def small(self, content):
        if len(content) > 1_000:
            raise DocumentTooLargeError
        return await prepare(self, content)

    monkeypatch.setattr(BodyStore, "prepare", small)
    [result] = await laptop.push(laptop.update(document, 1, base, base + "b" * 300 + "\n"))
    assert result["status"] == "conflict"
    big = laptop.op("document", "create", workspace_id=workspace, title="T", content="c" * 2_000)
    small_one = laptop.op("document", "create", workspace_id=workspace, title="T", content="c\n")
    results = await laptop.push(big, small_one)
    assert [(one["status"], one.get("code")) for one in results] == [
        ("rejected", "document_too_large"), ("applied", None),
    ]  # fmt: skip


async def test_what_is_no_text_at_all_does_not_stop_the_queue(desk):
    _, workspace, laptop = await desk()
    good = laptop.op("document", "create", workspace_id=workspace, title="T")
    bad = [
        laptop.op("document", "cre\0ate", workspace_id=workspace, title="T"),
        laptop.op("docu\0ment", "create", workspace_id=workspace, title="T"),
        laptop.op("document", "create", workspace_id=workspace, title="T", parent_id="\0"),
    ]
    results = await laptop.push(good, *bad)
    assert [result["status"] for result in results] == ["applied", *["rejected"] * 3]


# What is told


async def test_the_page_of_another_device_is_no_page_token(desk, people):
    ada, workspace, laptop = await desk()
    other = await Device(ada).register()
    for n in range(4):
        await people.document(ada, workspace, f"{n}\n")
    token = None
    while token is None:
        token = (await laptop.post("bootstrap", device_id=laptop.id, limit=1))["page_token"]
    mixed = await ada.http.post("/v1/sync/bootstrap", json={"device_id": other.id, "page_token": token})
    problem(mixed, 403, "cursor_not_yours")


async def test_whole_buckets_are_verified_however_much_differs(desk, monkeypatch):
    monkeypatch.setattr("sync.service.feed.MOST_COMPARED", 20)
    _, workspace, laptop = await desk()
    ids = [str(uuid7())[:-2] + f"{n % 3:02x}" for n in range(60)]
    made = [laptop.op("document", "create", id_, workspace_id=workspace, title="T", content="x\n") for id_ in ids]
    await laptop.push(*made)
    await laptop.bootstrap()
    await caught_up(laptop, lambda held: len(laptop.documents()) == 60)
    scope = f"r:{workspace}"
    for id_ in ids[:3]:
        key = (scope, "document", id_)
        laptop.held[key] = {**laptop.held[key], "version": 7}
    asked, more = 0, True
    while more:
        answer = await laptop.post("verify", scope=scope, buckets=laptop.buckets(scope))
        told = {(scope, one["entity"], one["id"]): one for each in answer["differs"] for one in each["changes"]}
        buckets = {each["bucket"] for each in answer["differs"]}
        laptop.held = {
            key: one for key, one in laptop.held.items() if key[0] != scope or UUID(key[2]).bytes[-1] not in buckets
        } | told
        asked, more = asked + 1, answer["more"]
    assert (asked, len(laptop.documents())) == (3, 60)
    assert (await laptop.post("verify", scope=scope, buckets=laptop.buckets(scope)))["differs"] == []


async def test_a_folder_that_is_not_ones_own_is_not_named_until_it_is(desk, people):
    ada, workspace, _ = await desk()
    bob = await people.person("Bob")
    await people.join(workspace, bob, "editor")
    secret = await people.folder(ada, workspace, "Secret")
    inner = await people.folder(ada, workspace, "Inner", secret["id"])
    document = await people.document(ada, workspace, "x\n", folder_id=secret["id"])
    assert (await ada.http.put(f"/v1/folders/{secret['id']}/access", json={"restricted": True})).status_code == 200
    for path in (f"documents/{document['id']}", f"folders/{inner['id']}"):
        assert (await ada.http.put(f"/v1/{path}/access/user:{bob.id}", json={"role": "viewer"})).status_code == 200
    laptop = await Device(bob).register()
    await laptop.bootstrap()
    wanted = {(f"r:{one['id']}", kind, one["id"]) for kind, one in (("document", document), ("folder", inner))}
    await caught_up(laptop, lambda held: wanted <= held.keys())
    assert secret["id"] not in str(laptop.held)
    given = await ada.http.put(f"/v1/folders/{secret['id']}/access/user:{bob.id}", json={"role": "viewer"})
    assert given.status_code == 200
    await caught_up(laptop, lambda held: all(held[key]["parent_id"] == secret["id"] for key in wanted))


async def test_who_may_edit_now_is_told_the_grants(desk, people):
    ada, workspace, _ = await desk()
    bob, eve = await people.person("Bob"), await people.person("Eve")
    for person in (bob, eve):
        await people.join(workspace, person, "viewer")
    document = (await people.document(ada, workspace, "x\n"))["id"]
    assert (await ada.http.put(f"/v1/documents/{document}/access/user:{eve.id}", json={"role": "editor"})).is_success
    laptop = await Device(bob).register()
    await laptop.bootstrap()
    key = (f"r:{document}", "grant", document)
    await caught_up(laptop, lambda held: key in held)
    assert laptop.held[key]["data"]["grants"] == {}
    await make_member(ada, workspace, bob, "editor")
    await caught_up(laptop, lambda held: held[key]["data"]["grants"] == {f"user:{eve.id}": "editor"})


async def test_what_moves_brings_no_more_text_than_was_asked_for(desk, people):
    ada, workspace, laptop = await desk()
    folder = (await people.folder(ada, workspace))["id"]
    text = "0123456789abcdef" * 1_000
    made = [
        laptop.op("document", "create", workspace_id=workspace, title="T", parent_id=folder, content=f"{n}\n{text}")
        for n in range(20)
    ]
    results = await laptop.push(*made)
    assert [result["status"] for result in results] == ["applied"] * 20, results
    await laptop.bootstrap()
    await caught_up(laptop, lambda _: len(laptop.documents()) == 20)
    assert (await ada.http.put(f"/v1/folders/{folder}/access", json={"restricted": True})).status_code == 200
    scope, told = f"r:{folder}", []

    async def moved():
        page = await laptop.post("pull", cursor=laptop.cursor, max_bytes=40_000)
        laptop.cursor = page["cursor"]
        told.append(page["changes"])
        texts = [one for one in page["changes"] if one.get("content")]
        assert sum(len(one["content"]) for one in texts) <= 40_000
        upserts = {one["id"] for page in told for one in page if (one["scope"], one["entity"]) == (scope, "document")}
        return len(upserts) == 20

    await until(moved)
