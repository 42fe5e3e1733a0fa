"""Two who change one tree at the same moment: nothing falls out of it, and nobody is let in by it."""

import asyncio
from uuid import uuid4

import pytest

from common.testing.checks import problem

ROUNDS = 12


@pytest.fixture
async def team(people):
    """A workspace of Ada's with two editors and a viewer, and another of hers."""
    ada = await people.person("Ada")
    workspace, other = await people.workspace(ada), await people.workspace(ada)
    bob, eve, vic = [await people.person(name) for name in ("Bob", "Eve", "Vic")]
    for person, role in ((bob, "editor"), (eve, "editor"), (vic, "viewer")):
        await people.join(workspace, person, role)
    return ada, bob, eve, vic, workspace, other


async def restrict(person, kind, node, **grants):
    body = {"restricted": True} | ({"grants": grants} if grants else {})
    return await person.http.put(f"/v1/{kind}/{node['id']}/access", json=body)


async def make_chain(person, workspace, parent):
    """Folders in each other, as fast as they are answered; those that could be made."""
    made = []
    for _ in range(3):
        body = {"workspace_id": workspace, "name": "x", "parent_id": made[-1]["id"] if made else parent["id"]}
        answer = await person.http.post("/v1/folders", json=body)
        assert answer.status_code in (201, 403, 404, 409), answer.text
        if answer.status_code != 201:
            break
        made.append(answer.json())
    return made


async def rows(connection, statement, *params):
    return await (await connection.execute(statement, params)).fetchall()


async def while_folders_are_made(people, team, change):
    """Change a folder while others are made two levels below; the answer, and what could be made."""
    ada, bob, _, _, workspace, _ = team
    top = await people.folder(ada, workspace)
    inner = await people.folder(ada, workspace, parent=top["id"])
    done, *chains = await asyncio.gather(change(top), *(make_chain(bob, workspace, inner) for _ in range(4)))
    assert done.is_success, done.text
    return [folder for chain in chains for folder in chain]


async def torn(connection, condition):
    """Folders that do not go together with the one they lie in."""
    pairs = "SELECT f.id FROM documents.folder f JOIN documents.folder p ON p.id = f.parent_id WHERE "
    return await rows(connection, pairs + condition)


async def test_folders_made_while_one_above_is_restricted_are_restricted_too(people, team):
    ada, _, _, vic, *_ = team
    for _ in range(ROUNDS):
        for folder in await while_folders_are_made(people, team, lambda top: restrict(ada, "folders", top)):
            assert (await vic.http.get(f"/v1/folders/{folder['id']}")).status_code == 404


async def test_folders_made_while_one_above_goes_to_another_workspace_go_too(people, team, as_owner_role):
    ada, *_, other = team
    place = {"workspace_id": other, "parent_id": None}
    for _ in range(ROUNDS):
        await while_folders_are_made(
            people, team, lambda top: ada.http.post(f"/v1/folders/{top['id']}/move", json=place)
        )
    assert await torn(as_owner_role, "p.workspace_id <> f.workspace_id") == []
    assert await torn(as_owner_role, "f.access_root_id NOT IN (p.access_root_id, f.id)") == []


async def test_folders_made_while_one_above_goes_to_the_trash_go_too(people, team, as_owner_role):
    ada = team[0]
    for _ in range(ROUNDS):
        await while_folders_are_made(people, team, lambda top: ada.http.delete(f"/v1/folders/{top['id']}"))
    assert await torn(as_owner_role, "f.trashed_at IS NULL AND p.trashed_at IS NOT NULL") == []


async def test_a_copy_made_while_its_document_moves_lies_in_one_workspace(people, team, as_owner_role):
    ada, _, _, _, workspace, other = team
    for _ in range(ROUNDS):
        document = await people.document(ada, workspace, "a\n")
        path = f"/v1/documents/{document['id']}"
        moved, *copies = await asyncio.gather(
            ada.http.post(f"{path}/move", json={"workspace_id": other, "folder_id": None}),
            *(ada.http.post(f"{path}/duplicate", json={}) for _ in range(4)),
        )
        assert moved.status_code == 200, moved.text
        assert {copy.status_code for copy in copies} <= {201, 503}
    foreign = "folder_id IS NULL AND access_root_id NOT IN (workspace_id, id)"
    assert await rows(as_owner_role, f"SELECT id FROM documents.document WHERE {foreign}") == []


async def test_a_copy_made_once_its_document_is_restricted_is_the_callers_alone(people, team, monkeypatch):
    """The document is restricted between the copier's first look and their lock."""
    from documents.service import Placer

    ada, _, _, vic, workspace, _ = team
    document = await people.document(ada, workspace, "a\n")
    lock, copier = Placer.lock, []

    async def late(self, workspace_id):
        if not copier:
            copier.append(self)
            assert (await restrict(ada, "documents", document)).status_code == 200
        await lock(self, workspace_id)

    monkeypatch.setattr(Placer, "lock", late)
    copy = await ada.http.post(f"/v1/documents/{document['id']}/duplicate", json={})
    assert copy.status_code == 201, copy.text
    assert copy.json()["restricted"] is True
    assert (await vic.http.get(f"/v1/documents/{copy.json()['id']}")).status_code == 404


async def test_nobody_stands_in_each_others_way_for_ever(people, team):
    """Rules, trash and places changed at once, in whatever order rows are locked: no deadlock, and no wrong 404."""
    ada, bob, eve, _, workspace, _ = team
    for _ in range(ROUNDS):
        folder = await people.folder(ada, workspace)
        document = await people.document(ada, workspace, "a\n", folder_id=folder["id"])
        body = {"workspace_id": workspace, "title": "t", "folder_id": folder["id"], "restricted": True}
        path = f"/v1/documents/{document['id']}"
        answers = await asyncio.gather(
            ada.http.patch(path, json={"restricted": True}, headers={"If-Match": '"v1"'}),
            ada.http.delete(f"/v1/folders/{folder['id']}"),
            ada.http.post("/v1/documents", json=body),
            bob.http.post("/v1/documents", json=body),
            eve.http.post("/v1/documents", json=body),
            ada.http.post(f"/v1/folders/{folder['id']}/duplicate", json={}),
        )
        assert {answer.status_code for answer in answers} <= {200, 201, 204, 409, 412}, [one.text for one in answers]


async def test_who_keeps_a_right_is_not_told_404_while_rules_change(people, team):
    ada, bob, *_, workspace, _ = team
    for _ in range(ROUNDS):
        document = await people.document(ada, workspace, "a\n")
        path = f"/v1/documents/{document['id']}"
        renames = [bob.http.patch(path, json={"title": f"{n}"}, headers={"If-Match": '"v1"'}) for n in range(4)]
        done, *answers = await asyncio.gather(
            restrict(ada, "documents", document, **{f"user:{bob.id}": "editor"}), *renames
        )
        assert done.status_code == 200
        assert {answer.status_code for answer in answers} <= {200, 412}, [one.text for one in answers]


async def test_grants_of_who_left_are_not_written_back(people, team, as_owner_role, environment):
    """Rules are read, changed and written whole: whoever takes grants away waits for that, and the other way round."""
    from common.database import Database
    from documents.repository import RootRepository
    from documents.service import DepartureService

    ada, bob, *_, workspace, _ = team
    document = await people.document(ada, workspace, "a\n")
    assert (await restrict(ada, "documents", document, **{f"user:{bob.id}": "editor"})).status_code == 200
    database = Database(environment["DOCUMENTS_WORKER_DATABASE_URL"], max_size=2, timeout=5)
    await database.open()
    try:
        async with as_owner_role.transaction():
            await as_owner_role.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('tree:' || %s::text, 0))", (workspace,)
            )
            async with database.transaction() as transaction:
                service = DepartureService(RootRepository(transaction, None))
                leaving = asyncio.create_task(service.take_back_grants([(bob.id, workspace)]))
                await asyncio.sleep(0.3)
                assert not leaving.done()
                leaving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await leaving
    finally:
        await database.close()


# Coming back


async def test_what_comes_back_from_a_restricted_folder_in_the_trash_is_seen_by_no_others(people, team):
    ada, bob, eve, vic, workspace, _ = team
    board = await people.folder(ada, workspace)
    assert (await restrict(ada, "folders", board, **{f"user:{bob.id}": "editor"})).status_code == 200
    plain, open_to_eve = [await people.document(ada, workspace, "a\n", folder_id=board["id"]) for _ in range(2)]
    given = await ada.http.put(f"/v1/documents/{open_to_eve['id']}/access/user:{eve.id}", json={"role": "editor"})
    assert given.status_code == 200
    inner = await people.folder(ada, workspace, parent=board["id"])
    deep = await people.document(ada, workspace, "a\n", folder_id=inner["id"])
    assert (await ada.http.delete(f"/v1/folders/{board['id']}")).status_code == 204

    for person, path in ((bob, "documents/" + plain["id"]), (eve, "documents/" + open_to_eve["id"]),
                         (bob, "folders/" + inner["id"])):  # fmt: skip
        back = await person.http.post(f"/v1/{path}/restore")
        assert (back.status_code, back.json()["trashed_at"]) == (200, None), back.text
    seen = {
        name: [(await person.http.get(path)).status_code for person in (ada, bob, eve, vic)]
        for name, path in (
            ("plain", f"/v1/documents/{plain['id']}"), ("open", f"/v1/documents/{open_to_eve['id']}"),
            ("inner", f"/v1/folders/{inner['id']}"), ("deep", f"/v1/documents/{deep['id']}"),
        )
    }  # fmt: skip
    nobody_else = [200, 200, 404, 404]
    assert seen == {"plain": nobody_else, "open": [200, 200, 200, 404], "inner": nobody_else, "deep": nobody_else}
    assert (await bob.http.get(f"/v1/documents/{plain['id']}")).json()["role"] == "editor"
    assert (await ada.http.post(f"/v1/folders/{board['id']}/restore")).status_code == 200
    assert (await vic.http.get(f"/v1/documents/{plain['id']}")).status_code == 404


async def test_who_has_a_grant_at_a_document_alone_may_take_it_out_of_the_trash(people, team):
    ada, *_, workspace, _ = team
    gil = await people.person("Gil")
    await people.join(workspace, gil, "guest")
    folder = await people.folder(ada, workspace)
    document = await people.document(ada, workspace, "a\n", folder_id=folder["id"])
    path = f"/v1/documents/{document['id']}"
    assert (await ada.http.put(f"{path}/access/user:{gil.id}", json={"role": "editor"})).status_code == 200
    assert (await gil.http.delete(path)).status_code == 204
    back = await gil.http.post(f"{path}/restore")
    assert (back.status_code, back.json()["folder_id"]) == (200, None)
    assert (await ada.http.get(path)).json()["folder_id"] == folder["id"], "it is where it was"


# What is told of places


async def test_the_top_shows_what_lies_in_folders_that_are_not_the_callers(people, team):
    ada, *_, workspace, _ = team
    gil = await people.person("Gil")
    await people.join(workspace, gil, "guest")
    hidden = await people.folder(ada, workspace)
    inner = await people.folder(ada, workspace, parent=hidden["id"])
    document = await people.document(ada, workspace, "a\n", folder_id=hidden["id"])
    top = await people.document(ada, workspace, "a\n")
    for path in (f"folders/{inner['id']}", f"documents/{document['id']}"):
        assert (await ada.http.put(f"/v1/{path}/access/user:{gil.id}", json={"role": "viewer"})).status_code == 200

    async def listed(person, kind, name, folder):
        answer = await person.http.get(f"/v1/{kind}", params={"workspace_id": workspace, name: folder})
        return {one["id"] for one in answer.json()["items"]}

    assert await listed(gil, "documents", "folder_id", "top") == {document["id"]}
    assert await listed(gil, "folders", "parent_id", "top") == {inner["id"]}
    assert await listed(gil, "documents", "folder_id", hidden["id"]) == set()
    assert await listed(gil, "folders", "parent_id", hidden["id"]) == set()
    assert await listed(ada, "documents", "folder_id", "top") == {top["id"]}
    assert await listed(ada, "documents", "folder_id", hidden["id"]) == {document["id"]}
    for sort in ("title", "-updated_at", "-created_at", "position"):
        params = {"workspace_id": workspace, "folder_id": "top", "sort": sort}
        assert len((await gil.http.get("/v1/documents", params=params)).json()["items"]) == 1


async def test_an_editor_of_a_document_is_not_told_who_is_at_a_folder_above_that_is_hidden(people, team):
    ada, bob, *_, workspace, _ = team
    gil = await people.person("Gil")
    await people.join(workspace, gil, "guest")
    board = await people.folder(ada, workspace)
    assert (await restrict(ada, "folders", board, **{f"user:{bob.id}": "editor"})).status_code == 200
    document = await people.document(ada, workspace, "a\n", folder_id=board["id"])
    path = f"/v1/documents/{document['id']}/access"
    assert (await ada.http.put(f"{path}/user:{gil.id}", json={"role": "editor"})).status_code == 200
    told = (await gil.http.get(path)).json()
    assert [(one["principal"], one["from"]["id"]) for one in told["grants"]] == [(f"user:{gil.id}", document["id"])]
    assert len((await bob.http.get(path)).json()["grants"]) == len((await ada.http.get(path)).json()["grants"]) == 3


async def test_how_deep_a_hidden_folder_lies_is_told_to_nobody(people, team):
    ada, *_, vic, workspace, _ = team
    folder = await people.folder(ada, workspace)
    assert (await restrict(ada, "folders", folder)).status_code == 200
    for _ in range(63):
        folder = await people.folder(ada, workspace, parent=folder["id"])
    stranger = await people.person("Stranger")
    mine = await people.workspace(stranger)
    for person, place in ((vic, workspace), (stranger, mine)):
        made = await person.http.post(
            "/v1/folders", json={"workspace_id": place, "name": "x", "parent_id": folder["id"]}
        )
        problem(made, 404, "folder_not_found")
    nowhere = {"workspace_id": mine, "name": "x", "parent_id": str(uuid4())}
    problem(await stranger.http.post("/v1/folders", json=nowhere), 404, "folder_not_found")
