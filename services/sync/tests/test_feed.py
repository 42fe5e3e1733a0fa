"""Bootstrap and pull over HTTP: what a device is told, in which order, and what it is never told."""

import asyncio
import hashlib

import pytest

from common.database import DatabaseUnavailableError
from common.identifiers import uuid7
from common.testing.checks import problem
from common.testing.writing import save

from .device import Device


async def test_a_new_device_gets_everything_and_then_what_changes(people, device):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    folder = await people.folder(ada, workspace, "Plans")
    first = await people.document(ada, workspace, "\ufeffeins\r\n", title="First", folder_id=folder["id"])
    laptop = await device(ada)
    await laptop.until(lambda one: len(one.held) == 5)  # workspace, membership twice, folder, document
    [held] = laptop.documents().values()
    assert (held["title"], held["content"], held["parent_id"]) == ("First", "\ufeffeins\r\n", folder["id"])
    assert held["content_hash"] == hashlib.sha256(held["content"].encode()).hexdigest()
    assert laptop.roles == {f"u:{ada.id}": "owner", f"r:{workspace}": "owner"}
    await save(ada, first["id"], 1, "zwei\n")
    await laptop.until(lambda one: one.documents()[first["id"]]["version"] == 2)
    assert laptop.documents()[first["id"]]["content"] == "zwei\n"
    assert (await ada.http.delete(f"/v1/documents/{first['id']}", headers={"If-Match": '"v2"'})).status_code == 204
    await laptop.until(lambda one: not one.documents())


async def test_pages_are_small_and_nothing_is_missed_while_others_write(people, device):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    made = [(await people.document(ada, workspace, f"{n}\n", title=f"N{n}"))["id"] for n in range(30)]
    other = await device(ada)
    await other.until(lambda one: len(one.documents()) == 30)

    async def write():
        for n, document in enumerate(made):
            await save(ada, document, 1, f"{n} again\n")

    slow = await Device(ada).register()
    writing = asyncio.create_task(write())
    assert await slow.bootstrap(limit=3) > 10
    await writing
    await slow.until(lambda one: {change["version"] for change in one.documents().values()} == {2})
    assert {change["content"] for change in slow.documents().values()} == {f"{n} again\n" for n in range(30)}


async def test_a_page_is_bounded_in_bytes_and_one_change_always_fits(people, device):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    big = (await people.document(ada, workspace, "x" * 60_000, title="big"))["id"]
    huge = (await people.document(ada, workspace, "y" * 70_000, title="huge"))["id"]
    await people.document(ada, workspace, "z" * 60_000, title="bigger")
    laptop = await device(ada)
    await laptop.until(lambda one: len(one.documents()) == 3)
    again = await Device(ada).register()
    assert await again.bootstrap(max_bytes=1) >= 2
    assert len(again.documents()) == 3
    assert len(again.documents()[big]["content"]) == 60_000
    assert "content" not in again.documents()[huge]
    got = await ada.http.get(again.documents()[huge]["content_url"])
    assert got.content == b"y" * 70_000


async def test_t13_who_joins_gets_the_whole_workspace_page_by_page(people, device):
    ada, bob = await people.person("Ada"), await people.person("Bob")
    workspace = await people.workspace(ada)
    for n in range(12):
        await people.document(ada, workspace, f"{n}\n")
    laptop = await device(bob)
    assert not laptop.documents()
    await people.join(workspace, bob, "viewer")
    await bob.http.get("/v1/documents", params={"workspace_id": workspace})
    other = await people.person("Other")
    await people.join(workspace, other, "editor")
    patched = await ada.http.patch(f"/v1/workspaces/{workspace}/members/{bob.id}", json={"role": "commenter"})
    assert patched.status_code == 200
    async with asyncio.timeout(20):
        while True:
            page = await laptop.post("pull", cursor=laptop.cursor, limit=5)
            if page["scopes_added"]:
                break
            await asyncio.sleep(0.05)
    assert page["scopes_added"] == [f"r:{workspace}"]
    assert page["roles"][f"r:{workspace}"] == "commenter"
    assert page["has_more"]
    assert len(page["changes"]) <= 5
    await laptop.until(lambda one: len(one.documents()) == 12)


async def test_t14_what_one_may_not_read_any_more_is_taken_away_and_no_title_leaks(people, device):
    ada, bob = await people.person("Ada"), await people.person("Bob")
    workspace = await people.workspace(ada)
    await people.join(workspace, bob, "editor")
    secret = (await people.document(ada, workspace, "a\n", title="Plan"))["id"]
    other = (await people.document(ada, workspace, "b\n", title="Other"))["id"]
    laptop = await device(bob)
    await laptop.until(lambda one: len(one.documents()) == 2)
    rules = {"restricted": True}
    assert (await ada.http.put(f"/v1/documents/{secret}/access", json=rules)).status_code == 200
    renamed = await ada.http.patch(f"/v1/documents/{secret}", json={"title": "Layoffs"}, headers={"If-Match": '"v2"'})
    assert renamed.status_code == 200, renamed.text
    old = laptop.cursor
    told = []
    async with asyncio.timeout(20):
        while secret in laptop.documents():
            told += await laptop.pull()
    assert "Layoffs" not in str(told)
    [gone] = [change for change in told if change["id"] == secret]
    assert gone == {key: gone[key] for key in ("scope", "seq", "kind", "entity", "id", "version", "reason")}
    assert (gone["kind"], gone["reason"]) == ("remove", "moved")
    assert "Layoffs" not in str(await laptop.post("pull", cursor=old)), "nor does the old cursor tell"
    laptop.compare()
    assert (await ada.http.delete(f"/v1/workspaces/{workspace}/members/{bob.id}")).status_code == 204
    page = await laptop.post("pull", cursor=laptop.cursor)
    assert page["scopes_removed"] == [f"r:{workspace}"], "at once: rights are read on every call"
    assert other not in str(page["changes"])


async def test_t15_revoked_and_granted_again_between_two_pulls(people, device):
    ada, bob = await people.person("Ada"), await people.person("Bob")
    workspace = await people.workspace(ada)
    await people.join(workspace, bob, "editor")
    documents = [(await people.document(ada, workspace, f"{n}\n"))["id"] for n in range(3)]
    laptop = await device(bob)
    await laptop.until(lambda one: len(one.documents()) == 3)
    suspend = f"/v1/workspaces/{workspace}/members/{bob.id}"
    assert (await ada.http.post(f"{suspend}/suspend")).status_code in (200, 204)
    await save(ada, documents[0], 1, "changed meanwhile\n")
    await ada.http.delete(f"/v1/documents/{documents[1]}", headers={"If-Match": '"v1"'})
    assert (await ada.http.post(f"{suspend}/resume")).status_code in (200, 204)
    await laptop.until(lambda one: len(one.documents()) == 2 and one.documents()[documents[0]]["version"] == 2)


async def test_t16_moved_to_another_root_goes_and_comes_in_one_page(people, device):
    ada = await people.person("Ada")
    workspace, other = await people.workspace(ada), await people.workspace(ada)
    document = (await people.document(ada, workspace, "a\n"))["id"]
    await people.document(ada, other, "b\n")
    laptop = await device(ada)
    await laptop.until(lambda one: len(one.documents()) == 2)
    moved = await ada.http.post(
        f"/v1/documents/{document}/move", json={"folder_id": None, "workspace_id": other}, headers={"If-Match": '"v1"'}
    )
    assert moved.status_code == 200, moved.text
    async with asyncio.timeout(20):
        while True:
            page = await laptop.post("pull", cursor=laptop.cursor, limit=1)
            found = [change for change in page["changes"] if change["id"] == document]
            if found:
                break
            laptop.cursor = page["cursor"]
    assert [change["kind"] for change in found] == ["upsert", "remove"]
    assert [change["scope"] for change in found] == [f"r:{other}", f"r:{workspace}"]
    assert found[1]["moved_to"] == f"r:{other}"
    await laptop.until(lambda one: one.documents()[document]["scope"] == f"r:{other}")


async def test_t7_parents_come_before_what_lies_in_them(people, device):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    top = await people.folder(ada, workspace, "top")
    inner = await people.folder(ada, workspace, "inner", top["id"])
    await people.document(ada, workspace, "a\n", folder_id=inner["id"])
    headers = {"If-Match": '"v1"'}
    assert (await ada.http.patch(f"/v1/folders/{inner['id']}", json={"name": "I"}, headers=headers)).status_code == 200
    assert (await ada.http.patch(f"/v1/folders/{top['id']}", json={"name": "T"}, headers=headers)).status_code == 200
    laptop = await device(ada)
    await laptop.until(
        lambda one: {change["version"] for change in one.held.values() if change["entity"] == "folder"} == {2}
    )
    fresh = await Device(ada).register()
    page = await fresh.post("bootstrap", device_id=fresh.id)
    order = [change["entity"] for change in page["items"]]
    assert order == sorted(order, key=["workspace", "member", "grant", "folder", "document"].index)
    assert [change["title"] for change in page["items"] if change["entity"] == "folder"] == ["T", "I"]


async def test_grants_are_shown_whole_to_editors_and_to_others_what_concerns_them(people, device):
    ada, bob, eve = await people.person("Ada"), await people.person("Bob"), await people.person("Eve")
    workspace = await people.workspace(ada)
    for person in (bob, eve):
        await people.join(workspace, person, "editor")
    document = (await people.document(ada, workspace, "a\n"))["id"]
    grants = {f"user:{bob.id}": "viewer", f"user:{eve.id}": "editor"}
    rules = {"restricted": True, "grants": grants}
    put = await ada.http.put(f"/v1/documents/{document}/access", json=rules)
    assert put.status_code == 200, put.text
    for person, expected in ((bob, {f"user:{bob.id}": "viewer"}), (eve, {f"user:{ada.id}": "owner", **grants})):
        laptop = await device(person)
        await laptop.until(lambda one: any(change["entity"] == "grant" for change in one.held.values()))
        [grant] = [change for change in laptop.held.values() if change["entity"] == "grant"]
        assert (grant["id"], grant["scope"], grant["data"]["grants"]) == (document, f"r:{document}", expected)


@pytest.mark.parametrize("path", ["bootstrap", "pull"])
async def test_a_device_has_to_be_registered(people, path):
    ada = await people.person("Ada")
    body = {"device_id": str(uuid7())} if path == "bootstrap" else {"cursor": "x" * 20}
    answer = await ada.http.post(f"/v1/sync/{path}", json=body)
    problem(answer, 404, "device_not_found") if path == "bootstrap" else problem(answer, 400, "cursor_invalid")


async def test_what_lies_in_the_trash_stays_there_when_it_is_restricted_or_its_folder_moves(people, device):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    folder = (await people.folder(ada, workspace, "F"))["id"]
    inside = (await people.document(ada, workspace, "a\n", folder_id=folder))["id"]
    beside = (await people.document(ada, workspace, "b\n"))["id"]
    laptop = await device(ada)
    await laptop.until(lambda one: len(one.documents()) == 2)
    for id_ in (inside, beside):
        assert (await ada.http.delete(f"/v1/documents/{id_}", headers={"If-Match": '"v1"'})).status_code == 204
    await laptop.until(lambda one: not one.documents())
    rules = {"restricted": True}
    assert (await ada.http.put(f"/v1/documents/{beside}/access", json=rules)).status_code == 200
    assert (await ada.http.put(f"/v1/folders/{folder}/access", json=rules)).status_code == 200
    grants = {f"r:{folder}", f"r:{beside}"}
    await laptop.until(lambda one: grants <= {key[0] for key in one.held if key[1] == "grant"})
    last = (await people.document(ada, workspace, "c\n"))["id"]
    await laptop.until(lambda one: last in one.documents())
    assert set(laptop.documents()) == {last}


async def test_what_was_restricted_while_no_event_comes_is_told_by_nothing(people, device, fleet, monkeypatch):
    ada, bob = await people.person("Ada"), await people.person("Bob")
    workspace = await people.workspace(ada)
    await people.join(workspace, bob, "editor")
    secret = (await people.document(ada, workspace, "a\n", title="Layoffs"))["id"]
    await (await device(ada)).until(lambda one: secret in one.documents())
    inbox = fleet["sync"].app.state.platform.inbox

    async def stopped(_events):
        await asyncio.sleep(0.2)
        raise DatabaseUnavailableError  # as if the consumer stood still

    monkeypatch.setattr(inbox, "apply", stopped)
    assert (await ada.http.put(f"/v1/documents/{secret}/access", json={"restricted": True})).status_code == 200
    phone = await Device(bob).register()
    page = await phone.post("bootstrap", device_id=phone.id)
    assert "Layoffs" not in str(page)
    assert f"r:{workspace}" not in page["checksums"], "it cannot agree yet"
    empty = [{"count": 0, "sum": "0" * 16}] * 256
    assert "Layoffs" not in str(await phone.post("verify", scope=f"r:{workspace}", buckets=empty))
    monkeypatch.undo()
    phone.apply(page["items"], page)
    phone.cursor = page["cursor"]
    await phone.until(lambda one: f"r:{workspace}" in one.checksums)
    assert secret not in phone.documents()
