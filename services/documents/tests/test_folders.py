"""Folders: a tree people arrange, alone and at the same time."""

import asyncio
from uuid import uuid4

import psycopg
import pytest

from common.identifiers import uuid7
from common.testing.checks import problem


async def tree_of(person, folder, **query):
    answer = await person.http.get(f"/v1/folders/{folder['id']}/tree", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(node):
    """A tree as nested names: folders in a list after their name, documents by title."""
    return [
        node["name"],
        *(names(inner) for inner in node["folders"]),
        *(document["title"] for document in node["documents"]),
    ]


async def change(person, folder, version=None, **fields):
    return await person.http.patch(
        f"/v1/folders/{folder['id']}", json=fields, headers={"If-Match": f'"v{version or folder["version"]}"'}
    )


async def seen(person, folder):
    return (await person.http.get(f"/v1/folders/{folder['id']}")).json()


@pytest.fixture
async def wood(people):
    """Ada's workspace: a/b/c, a document in each, one at the top."""
    ada = await people.person()
    workspace = await people.workspace(ada)
    a = await people.folder(ada, workspace, "a")
    b = await people.folder(ada, workspace, "b", a["id"])
    c = await people.folder(ada, workspace, "c", b["id"])
    for folder in (a, b, c):
        await people.document(ada, workspace, f"in {folder['name']}\n", folder_id=folder["id"], title=folder["name"])
    top = await people.document(ada, workspace, "top\n", title="top")
    return ada, workspace, a, b, c, top


async def test_a_folder_is_created_read_and_renamed(people, place):
    folder_id = str(uuid7())
    answer = await place.editor.http.post(
        "/v1/folders", json={"workspace_id": place.id, "name": "  Plans ", "id": folder_id}
    )
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/folders/{folder_id}"
    folder = answer.json()
    assert (folder["name"], folder["parent_id"], folder["version"]) == ("Plans", None, 1)
    assert folder["abilities"]["edit"] is True
    again = await place.editor.http.post("/v1/folders", json={"workspace_id": place.id, "name": "x", "id": folder_id})
    problem(again, 409, "folder_exists")
    renamed = await change(place.editor, folder, name="Ideas")
    assert (renamed.json()["name"], renamed.headers["etag"]) == ("Ideas", '"v2"')
    problem(await change(place.editor, folder, name="Other"), 412, "version_stale")
    problem(await change(place.viewer, folder, version=2, name="Mine"), 403, "role_insufficient")
    problem(await change(place.stranger, folder, version=2, name="Mine"), 404, "folder_not_found")
    assert (await seen(place.viewer, folder))["name"] == "Ideas"
    cached = await place.editor.http.get(f"/v1/folders/{folder_id}")
    not_modified = {"If-None-Match": cached.headers["etag"]}
    assert (await place.editor.http.get(f"/v1/folders/{folder_id}", headers=not_modified)).status_code == 304


async def test_the_tree_shows_what_lies_where_in_order(wood, people):
    ada, workspace, a, b, c, _top = wood
    await people.folder(ada, workspace, "b2", a["id"])
    assert names(await tree_of(ada, a)) == ["a", ["b", ["c", "c"], "b"], ["b2"], "a"]
    assert names(await tree_of(ada, a, depth=1, documents=False)) == ["a", ["b"], ["b2"]]
    assert names(await tree_of(ada, c)) == ["c", "c"]
    assert (await tree_of(ada, a))["truncated"] is False
    inside = await ada.http.get("/v1/documents", params={"workspace_id": workspace, "folder_id": b["id"]})
    assert [item["title"] for item in inside.json()["items"]] == ["b"]
    top = await ada.http.get("/v1/documents", params={"workspace_id": workspace, "folder_id": "top"})
    assert [item["title"] for item in top.json()["items"]] == ["top"]
    folders = (await ada.http.get("/v1/folders", params={"workspace_id": workspace, "limit": 2})).json()
    rest = await ada.http.get(
        "/v1/folders", params={"workspace_id": workspace, "limit": 2, "cursor": folders["next_cursor"]}
    )
    assert [item["name"] for item in folders["items"] + rest.json()["items"]] == ["a", "b", "c", "b2"]
    below = await ada.http.get("/v1/folders", params={"workspace_id": workspace, "parent_id": a["id"]})
    assert [item["name"] for item in below.json()["items"]] == ["b", "b2"]


async def test_siblings_are_reordered(wood, people):
    ada, workspace, a, *_ = wood
    one, two, three = [await people.folder(ada, workspace, name, a["id"]) for name in ("1", "2", "3")]
    assert (await change(ada, three, after=one["id"])).status_code == 200
    assert [node["name"] for node in (await tree_of(ada, a))["folders"]] == ["b", "1", "3", "2"]
    problem(await change(ada, two, after=str(uuid4())), 422, "sibling_unknown")
    first = (await tree_of(ada, a))["folders"][0]["position"]
    moved = await change(ada, two, position="Zz")
    assert moved.json()["position"] == "Zz" < first
    problem(await change(ada, one, position="not/a/key"), 422, "validation_error")


async def test_a_folder_moves_with_all_that_lies_in_it(wood):
    ada, _workspace, a, b, c, _top = wood
    assert (await change(ada, c, parent_id=None)).json()["parent_id"] is None
    assert names(await tree_of(ada, c)) == ["c", "c"]
    assert (await change(ada, a, parent_id=c["id"])).status_code == 200
    assert names(await tree_of(ada, c)) == ["c", ["a", ["b", "b"], "a"], "c"]
    problem(await change(ada, b, parent_id=str(uuid4())), 404, "folder_not_found")


async def test_a_folder_never_lies_in_itself(wood):
    ada, _workspace, a, _b, c, _top = wood
    for parent in (a, c):
        problem(await change(ada, a, parent_id=parent["id"]), 409, "folder_cycle")
    assert names(await tree_of(ada, a)) == ["a", ["b", ["c", "c"], "b"], "a"]


async def test_two_people_cannot_move_folders_into_each_other(people):
    ada = await people.person()
    workspace = await people.workspace(ada)
    for _ in range(5):
        one, two = [await people.folder(ada, workspace, name) for name in ("one", "two")]
        answers = await asyncio.gather(change(ada, one, parent_id=two["id"]), change(ada, two, parent_id=one["id"]))
        assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_the_same_place_changed_by_two_is_a_conflict_a_name_beside_it_is_not(wood):
    ada, _workspace, _a, b, _c, _top = wood
    assert (await change(ada, b, parent_id=None)).status_code == 200
    problem(await change(ada, b, position="a1"), 412, "version_stale")
    assert (await change(ada, b, name="B")).json()["version"] == 3


async def test_folders_lie_at_most_64_deep(people):
    ada = await people.person()
    workspace, parent = await people.workspace(ada), None
    for number in range(64):
        parent = (await people.folder(ada, workspace, str(number), parent))["id"]
    answer = await ada.http.post("/v1/folders", json={"workspace_id": workspace, "name": "x", "parent_id": parent})
    problem(answer, 422, "folder_too_deep")
    other = await people.folder(ada, workspace, "other")
    problem(await change(ada, other, parent_id=parent), 422, "folder_too_deep")


async def test_documents_move_between_folders(wood):
    ada, workspace, a, b, _c, top = wood
    path = f"/v1/documents/{top['id']}"
    moved = await ada.http.post(f"{path}/move", json={"folder_id": b["id"]}, headers={"If-Match": '"v1"'})
    assert (moved.json()["folder_id"], moved.json()["version"]) == (b["id"], 2)
    assert names(await tree_of(ada, b))[-2:] == ["b", "top"]
    sibling = (await tree_of(ada, a))["folders"][0]
    behind = await ada.http.post(f"{path}/move", json={"folder_id": a["id"], "after": sibling["id"]})
    assert behind.json()["position"] > sibling["position"]
    stale = await ada.http.patch(path, json={"folder_id": None}, headers={"If-Match": '"v2"'})
    problem(stale, 412, "version_stale")
    back = await ada.http.patch(path, json={"folder_id": None, "title": "Top"}, headers={"If-Match": '"v3"'})
    assert (back.json()["folder_id"], back.json()["title"]) == (None, "Top")
    content = await ada.http.put(f"{path}/content", json={"content": "new\n"}, headers={"If-Match": '"v1"'})
    assert content.json()["merged"] is False, "a move makes no content stale"
    nowhere = await ada.http.post(f"{path}/move", json={"folder_id": str(uuid4())})
    problem(nowhere, 404, "folder_not_found")
    created = await ada.http.post(
        "/v1/documents", json={"workspace_id": workspace, "title": "x", "folder_id": str(uuid4())}
    )
    problem(created, 404, "folder_not_found")


async def test_the_trash_takes_and_gives_back_a_folder_whole(wood):
    ada, workspace, a, b, _c, top = wood
    alone = next(item for item in (await tree_of(ada, b))["documents"])
    assert (await ada.http.delete(f"/v1/documents/{alone['id']}")).status_code == 204
    assert (await ada.http.delete(f"/v1/folders/{a['id']}")).status_code == 204
    listed = (await ada.http.get("/v1/documents", params={"workspace_id": workspace})).json()["items"]
    assert [item["id"] for item in listed] == [top["id"]]
    assert (await ada.http.get("/v1/folders", params={"workspace_id": workspace})).json()["items"] == []
    trashed = await ada.http.get("/v1/folders", params={"workspace_id": workspace, "state": "trashed"})
    assert {item["name"] for item in trashed.json()["items"]} == {"a", "b", "c"}
    problem(await change(ada, a, version=2, name="x"), 409, "folder_trashed")
    into = await ada.http.post(f"/v1/documents/{top['id']}/move", json={"folder_id": a["id"]})
    problem(into, 409, "folder_trashed")
    assert (await ada.http.post(f"/v1/folders/{a['id']}/restore")).json()["trashed_at"] is None
    assert names(await tree_of(ada, a)) == ["a", ["b", ["c", "c"]], "a"], "what was trashed before stays there"
    assert (await ada.http.post(f"/v1/documents/{alone['id']}/restore")).json()["folder_id"] == b["id"]


async def test_what_comes_back_from_a_trashed_folder_alone_lies_in_the_nearest_living_one(wood):
    ada, _workspace, a, b, c, _top = wood
    document = (await tree_of(ada, c))["documents"][0]
    assert (await ada.http.delete(f"/v1/folders/{b['id']}")).status_code == 204
    restored = await ada.http.post(f"/v1/documents/{document['id']}/restore")
    assert (restored.json()["folder_id"], restored.json()["trashed_at"]) == (a["id"], None)
    assert (await ada.http.post(f"/v1/folders/{c['id']}/restore")).json()["parent_id"] == a["id"]
    assert names(await tree_of(ada, a)) == ["a", ["c"], "a", "c"]
    assert (await ada.http.post(f"/v1/folders/{b['id']}/restore")).json()["parent_id"] == a["id"]
    assert names(await tree_of(ada, a)) == ["a", ["b", "b"], ["c"], "a", "c"]


async def test_trash_needs_the_version_seen_if_one_is_named(wood):
    ada, _workspace, a, *_ = wood
    stale = await ada.http.delete(f"/v1/folders/{a['id']}", headers={"If-Match": '"v9"'})
    problem(stale, 412, "version_unknown")
    assert (await ada.http.delete(f"/v1/folders/{a['id']}", headers={"If-Match": '"v1"'})).status_code == 204
    assert (await ada.http.delete(f"/v1/folders/{a['id']}")).status_code == 204


async def test_each_change_is_told_once_and_in_order(wood, environment):
    ada, _workspace, a, _b, c, _top = wood
    await change(ada, c, parent_id=a["id"])
    await ada.http.delete(f"/v1/folders/{a['id']}")
    await ada.http.post(f"/v1/folders/{a['id']}/restore")
    async with await psycopg.AsyncConnection.connect(environment["MDC_ADMIN_DATABASE_URL"]) as connection:
        cursor = await connection.execute(
            "SELECT type, aggregate_version, data->>'parent_id' FROM documents.event WHERE aggregate_id = %s "
            "ORDER BY aggregate_version",
            (c["id"],),
        )
        rows = await cursor.fetchall()
    assert [(type_.split(".")[2], version) for type_, version, _ in rows] == [
        ("created", 1), ("updated", 2), ("trashed", 3), ("restored", 4)
    ]  # fmt: skip
    assert rows[-1][2] == a["id"]
