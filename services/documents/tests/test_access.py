"""Access rules of documents and folders: who is let in, who is kept out, and where a right comes from."""

import asyncio
from uuid import uuid4

import psycopg
import pytest

from common.testing.checks import problem


def user(person):
    return f"user:{person.id}"


async def access(person, kind, node):
    answer = await person.http.get(f"/v1/{kind}/{node['id']}/access")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def restrict(person, kind, node, **grants):
    body = {"restricted": True}
    if grants:
        body["grants"] = grants
    answer = await person.http.put(f"/v1/{kind}/{node['id']}/access", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def grant(person, kind, node, other, role):
    return await person.http.put(f"/v1/{kind}/{node['id']}/access/{user(other)}", json={"role": role})


async def revoke(person, kind, node, other):
    return await person.http.delete(f"/v1/{kind}/{node['id']}/access/{user(other)}")


async def statuses(kind, node, *persons):
    return [(await person.http.get(f"/v1/{kind}/{node['id']}")).status_code for person in persons]


async def listed(person, workspace):
    answer = await person.http.get("/v1/documents", params={"workspace_id": workspace, "limit": 200})
    return {item["id"] for item in answer.json()["items"]}


@pytest.fixture
async def team(people):
    """A workspace of Ada's with an admin, an editor and a viewer."""
    ada = await people.person()
    workspace = await people.workspace(ada)
    others = []
    for role in ("admin", "editor", "viewer"):
        others.append(await people.person(role))
        await people.join(workspace, others[-1], role)
    return ada, *others, workspace


async def test_a_restricted_document_is_there_only_for_who_was_let_in(people, team):
    ada, admin, editor, viewer, workspace = team
    document = await people.document(ada, workspace, "secret\n")
    found = await restrict(ada, "documents", document)
    assert found["restricted"] is True
    assert found["workspace_members"] is False
    assert [(entry["principal"], entry["role"]) for entry in found["grants"]] == [(user(ada), "owner")]
    assert await statuses("documents", document, ada, admin, editor, viewer) == [200, 404, 404, 404]
    for path in ("content", "versions", "versions/1", "versions/1/content", "access"):
        code = "not_found" if path == "access" else "document_not_found"
        problem(await editor.http.get(f"/v1/documents/{document['id']}/{path}"), 404, code)
    saved = await editor.http.put(
        f"/v1/documents/{document['id']}/content", json={"content": "x"}, headers={"If-Match": '"v1"'}
    )
    problem(saved, 404, "document_not_found")
    assert document["id"] not in await listed(editor, workspace)
    assert document["id"] in await listed(ada, workspace)
    assert (await grant(ada, "documents", document, viewer, "editor")).status_code == 200
    assert await statuses("documents", document, ada, admin, editor, viewer) == [200, 404, 404, 200]
    read = (await viewer.http.get(f"/v1/documents/{document['id']}")).json()
    assert (read["role"], read["restricted"], read["abilities"]["edit"]) == ("editor", True, True)
    assert document["id"] in await listed(viewer, workspace)
    assert (await ada.http.delete(f"/v1/documents/{document['id']}/access")).status_code == 204
    assert await statuses("documents", document, ada, admin, editor, viewer) == [200, 200, 200, 200]
    assert (await access(ada, "documents", document))["grants"] == []


async def test_a_grant_adds_to_what_is_inherited(people, team):
    ada, _admin, _editor, viewer, workspace = team
    document, other = [await people.document(ada, workspace, "a\n") for _ in range(2)]
    assert (await grant(ada, "documents", document, viewer, "editor")).status_code == 200
    saved = await viewer.http.put(
        f"/v1/documents/{document['id']}/content", json={"content": "mine\n"}, headers={"If-Match": '"v1"'}
    )
    assert saved.status_code == 200
    refused = await viewer.http.put(
        f"/v1/documents/{other['id']}/content", json={"content": "mine\n"}, headers={"If-Match": '"v1"'}
    )
    problem(refused, 403, "role_insufficient")
    assert (await revoke(ada, "documents", document, viewer)).status_code == 204
    assert (await viewer.http.get(f"/v1/documents/{document['id']}")).json()["role"] == "viewer"
    problem(await revoke(ada, "documents", document, viewer), 404, "grant_not_found")


async def test_a_folders_rules_hold_for_all_that_lies_in_it(people, team):
    ada, _admin, editor, viewer, workspace = team
    folder = await people.folder(ada, workspace)
    inner = await people.folder(ada, workspace, "inner", folder["id"])
    document = await people.document(ada, workspace, "a\n", folder_id=inner["id"])
    await restrict(ada, "folders", folder, **{user(editor): "editor"})
    assert await statuses("documents", document, ada, editor, viewer) == [200, 200, 404]
    assert await statuses("folders", inner, ada, editor, viewer) == [200, 200, 404]
    new = await people.document(editor, workspace, "b\n", folder_id=inner["id"])
    assert await statuses("documents", new, ada, viewer) == [200, 404]
    into = await viewer.http.post(
        "/v1/documents", json={"workspace_id": workspace, "title": "x", "folder_id": inner["id"]}
    )
    problem(into, 404, "folder_not_found")
    found = await access(editor, "documents", document)
    assert found["restricted"] is False
    assert {(entry["principal"], entry["from"]["id"], entry["inherited"]) for entry in found["grants"]} == {
        (user(ada), folder["id"], True), (user(editor), folder["id"], True)
    }  # fmt: skip
    folders = (await viewer.http.get("/v1/folders", params={"workspace_id": workspace})).json()["items"]
    assert folders == []


async def test_a_document_in_a_restricted_folder_can_be_opened_to_one_more(people, team):
    ada, _admin, editor, viewer, workspace = team
    folder = await people.folder(ada, workspace)
    document, hidden = [await people.document(ada, workspace, "a\n", folder_id=folder["id"]) for _ in range(2)]
    await restrict(ada, "folders", folder, **{user(editor): "viewer"})
    assert (await grant(ada, "documents", document, viewer, "commenter")).status_code == 200
    assert await statuses("documents", document, ada, editor, viewer) == [200, 200, 200]
    assert await statuses("documents", hidden, ada, editor, viewer) == [200, 200, 404]
    assert (await viewer.http.get(f"/v1/documents/{document['id']}")).json()["folder_id"] is None
    assert (await editor.http.get(f"/v1/documents/{document['id']}")).json()["folder_id"] == folder["id"]
    mine = await access(viewer, "documents", document)
    assert [entry["principal"] for entry in mine["grants"]] == [user(viewer)], "others are nobody's business"
    await restrict(ada, "documents", document)
    assert await statuses("documents", document, ada, editor, viewer) == [200, 404, 200]


async def test_moving_changes_who_may_read(people, team):
    ada, _admin, editor, viewer, workspace = team
    secret = await people.folder(ada, workspace, "secret")
    await restrict(ada, "folders", secret, **{user(editor): "editor"})
    folder = await people.folder(ada, workspace, "plans")
    document = await people.document(ada, workspace, "a\n", folder_id=folder["id"])
    own = await people.document(ada, workspace, "b\n", folder_id=folder["id"])
    await restrict(ada, "documents", own, **{user(viewer): "viewer"})
    moved = await editor.http.patch(
        f"/v1/folders/{folder['id']}", json={"parent_id": secret["id"]}, headers={"If-Match": '"v1"'}
    )
    assert moved.status_code == 200
    assert await statuses("documents", document, ada, editor, viewer) == [200, 200, 404]
    assert await statuses("folders", folder, ada, editor, viewer) == [200, 200, 404]
    assert await statuses("documents", own, ada, editor, viewer) == [200, 404, 200], "its own rules go along"
    version = moved.json()["version"]
    back = await editor.http.patch(
        f"/v1/folders/{folder['id']}", json={"parent_id": None}, headers={"If-Match": f'"v{version}"'}
    )
    assert back.status_code == 200
    assert await statuses("documents", document, ada, editor, viewer) == [200, 200, 200]
    into = await viewer.http.post(f"/v1/documents/{document['id']}/move", json={"folder_id": secret["id"]})
    problem(into, 403, "role_insufficient")
    gone = await editor.http.post(f"/v1/documents/{document['id']}/move", json={"folder_id": secret["id"]})
    assert gone.status_code == 200
    assert await statuses("documents", document, editor, viewer) == [200, 404]


async def test_only_who_manages_makes_rules_and_only_owners_make_owners(people, team):
    ada, admin, editor, viewer, workspace = team
    document = await people.document(ada, workspace, "a\n")
    for person in (editor, viewer):
        problem(await grant(person, "documents", document, viewer, "editor"), 403, "role_insufficient")
    problem(await grant(admin, "documents", document, viewer, "owner"), 403, "role_insufficient")
    assert (await grant(admin, "documents", document, viewer, "admin")).status_code == 200
    assert (await grant(ada, "documents", document, editor, "owner")).status_code == 200
    problem(await grant(viewer, "documents", document, editor, "viewer"), 403, "role_insufficient")
    assert (await grant(editor, "documents", document, viewer, "owner")).status_code == 200
    guest = await ada.http.put(f"/v1/documents/{document['id']}/access/{user(viewer)}", json={"role": "guest"})
    problem(guest, 422, "validation_error")
    strange = await ada.http.put(f"/v1/documents/{document['id']}/access/everybody", json={"role": "viewer"})
    problem(strange, 422, "validation_error")


async def test_whoever_makes_a_document_owns_it_as_long_as_it_has_no_rules(people, team):
    ada, admin, editor, viewer, workspace = team
    draft = await people.document(editor, workspace, "draft\n", restricted=True)
    assert (draft["restricted"], draft["role"]) == (True, "owner")
    assert await statuses("documents", draft, editor, admin, viewer) == [200, 404, 404]
    other = await people.document(editor, workspace, "other\n")
    assert other["abilities"]["manage"] is True
    assert (await grant(editor, "documents", other, viewer, "editor")).status_code == 200
    assert (await access(editor, "documents", other))["role"] == "owner"
    assert (await grant(ada, "documents", other, editor, "viewer")).status_code == 200
    problem(await grant(editor, "documents", other, viewer, "viewer"), 403, "role_insufficient")
    patched = await editor.http.patch(
        f"/v1/documents/{draft['id']}", json={"restricted": False}, headers={"If-Match": f'"v{draft["version"]}"'}
    )
    assert patched.json()["restricted"] is False


async def test_somebody_must_be_left_who_can_manage_it(people, team):
    ada, _admin, editor, _viewer, workspace = team
    document = await people.document(ada, workspace, "a\n")
    await restrict(ada, "documents", document)
    problem(await revoke(ada, "documents", document, ada), 409, "last_path")
    problem(await grant(ada, "documents", document, ada, "editor"), 409, "last_path")
    none = await ada.http.put(f"/v1/documents/{document['id']}/access", json={"grants": {user(editor): "editor"}})
    problem(none, 409, "last_path")
    assert (await grant(ada, "documents", document, editor, "owner")).status_code == 200
    assert (await revoke(ada, "documents", document, ada)).status_code == 204
    assert (await statuses("documents", document, editor)) == [200]


async def test_an_owner_of_the_workspace_may_take_access_and_that_is_told(people, team, environment):
    ada, admin, editor, viewer, workspace = team
    folder = await people.folder(editor, workspace)
    document = await people.document(editor, workspace, "mine\n", restricted=True)
    inner = await people.document(editor, workspace, "b\n", folder_id=folder["id"], restricted=True)
    problem(await ada.http.get(f"/v1/documents/{document['id']}"), 403, "access_not_taken")
    problem(await admin.http.get(f"/v1/documents/{document['id']}"), 404, "document_not_found")
    assert document["id"] not in await listed(ada, workspace)
    found = await access(ada, "documents", document)
    assert [entry["principal"] for entry in found["grants"]] == [user(editor)]
    taken = await grant(ada, "documents", document, ada, "viewer")
    assert taken.status_code == 200
    assert await statuses("documents", document, ada, editor, viewer) == [200, 200, 404]
    async with await psycopg.AsyncConnection.connect(environment["MDC_ADMIN_DATABASE_URL"]) as connection:
        cursor = await connection.execute(
            "SELECT data->>'change', headers->>'actor' FROM documents.event "
            "WHERE type = 'documents.root.changed.v1' AND data->>'root_id' = %s ORDER BY aggregate_version",
            (document["id"],),
        )
        rows = await cursor.fetchall()
    assert rows[-1] == (f"{user(ada)} nothing -> viewer", str(ada.id))
    assert (await ada.http.delete(f"/v1/documents/{inner['id']}/access")).status_code == 204
    assert await statuses("documents", inner, ada, viewer) == [200, 200]


async def test_grants_go_to_people_of_the_workspace_only(people, team):
    ada, *_, workspace = team
    stranger = await people.person("Stranger")
    document = await people.document(ada, workspace, "a\n")
    for principal in (user(stranger), f"user:{uuid4()}", f"group:{uuid4()}"):
        answer = await ada.http.put(f"/v1/documents/{document['id']}/access/{principal}", json={"role": "viewer"})
        assert problem(answer, 422, "principal_unknown")["principals"] == [principal]


async def test_leaving_the_workspace_ends_all_grants_and_coming_back_starts_anew(people, team):
    ada, _admin, editor, _viewer, workspace = team
    document = await people.document(ada, workspace, "a\n")
    await restrict(ada, "documents", document, **{user(editor): "editor"})
    assert await statuses("documents", document, editor) == [200]
    gone = await ada.http.delete(f"/v1/workspaces/{workspace}/members/{editor.id}")
    assert gone.status_code == 204
    assert await statuses("documents", document, editor) == [404]
    async with asyncio.timeout(5):
        while len((await access(ada, "documents", document))["grants"]) > 1:
            await asyncio.sleep(0.02)


async def test_what_somebody_may_not_see_in_a_folder_survives_its_trash(people, team):
    ada, _admin, editor, viewer, workspace = team
    folder = await people.folder(ada, workspace)
    open_one = await people.document(ada, workspace, "a\n", folder_id=folder["id"])
    hidden = await people.document(ada, workspace, "b\n", folder_id=folder["id"])
    await restrict(ada, "documents", hidden, **{user(viewer): "viewer"})
    assert (await editor.http.delete(f"/v1/folders/{folder['id']}")).status_code == 204
    assert (await ada.http.get(f"/v1/documents/{open_one['id']}")).json()["trashed_at"]
    kept = (await viewer.http.get(f"/v1/documents/{hidden['id']}")).json()
    assert (kept["trashed_at"], kept["folder_id"]) == (None, None)
    assert (await editor.http.post(f"/v1/folders/{folder['id']}/restore")).status_code == 200
    assert (await grant(ada, "documents", hidden, editor, "viewer")).status_code == 200
    problem(await editor.http.delete(f"/v1/folders/{folder['id']}"), 403, "contents_protected")
    assert (await ada.http.get(f"/v1/documents/{open_one['id']}")).json()["trashed_at"] is None


async def test_rules_are_replaced_only_as_they_were_seen(people, team):
    ada, admin, editor, viewer, workspace = team
    document = await people.document(ada, workspace, "a\n")
    path = f"/v1/documents/{document['id']}/access"
    etag = (await ada.http.get(path)).headers["etag"]
    assert etag == '"v0"'
    first = await admin.http.put(path, json={"grants": {user(viewer): "editor"}}, headers={"If-Match": etag})
    assert first.headers["etag"] == '"v1"'
    late = await ada.http.put(path, json={"grants": {user(editor): "viewer"}}, headers={"If-Match": etag})
    assert problem(late, 412, "precondition_failed")["version"] == 1
    assert len((await access(ada, "documents", document))["grants"]) == 1


async def test_restricting_and_moving_at_once_leaves_no_way_in(people, team):
    """Whatever comes first: the folder is restricted afterwards, and so is all that lies in it."""
    ada, admin, _editor, viewer, workspace = team
    for _ in range(8):
        folder, target = [await people.folder(ada, workspace) for _ in range(2)]
        document = await people.document(ada, workspace, "a\n", folder_id=folder["id"])
        answers = await asyncio.gather(
            admin.http.put(f"/v1/folders/{folder['id']}/access", json={"restricted": True}),
            ada.http.patch(
                f"/v1/folders/{folder['id']}", json={"parent_id": target["id"]}, headers={"If-Match": '"v1"'}
            ),
            ada.http.put(f"/v1/folders/{target['id']}/access", json={"restricted": True}),
            people.document(ada, workspace, "b\n"),
        )
        assert answers[0].status_code in (200, 404), "once it lies in what is restricted, the admin knows nothing of it"
        assert answers[2].status_code == 200
        assert answers[1].status_code in (200, 403, 404), "whoever was shut out meanwhile cannot move it"
        assert await statuses("documents", document, viewer) == [404]
        assert await statuses("folders", folder, viewer) == [404]


async def test_a_document_made_while_its_folder_is_restricted_is_restricted_too(people, team):
    ada, _admin, editor, viewer, workspace = team
    for _ in range(10):
        folder = await people.folder(ada, workspace)
        body = {"workspace_id": workspace, "title": "new", "folder_id": folder["id"]}
        _restricted, *made = await asyncio.gather(
            restrict(ada, "folders", folder),
            *(editor.http.post("/v1/documents", json=body) for _ in range(4)),
        )
        for answer in made:
            assert answer.status_code in (201, 403, 404)
            if answer.status_code == 201:
                assert await statuses("documents", answer.json(), ada, viewer) == [200, 404]


# Requests


async def test_access_is_asked_for_and_given(people, team, environment):
    ada, _admin, editor, viewer, workspace = team
    document = await people.document(ada, workspace, "a\n")
    await restrict(ada, "documents", document)
    path = f"/v1/documents/{document['id']}/access-requests"
    for _ in range(2):
        asked = await editor.http.post(path, json={"role": "editor", "message": "for the plan"})
        assert (asked.status_code, asked.json()) == (202, {"status": "asked"})
    nothing = await editor.http.post(f"/v1/documents/{uuid4()}/access-requests", json={})
    assert (nothing.status_code, nothing.json()) == (202, {"status": "asked"})
    problem(await viewer.http.get(path), 404, "not_found")
    [request] = (await ada.http.get(path)).json()["items"]
    assert (request["user_id"], request["role"], request["message"]) == (str(editor.id), "editor", "for the plan")
    decided = f"{path}/{request['id']}"
    problem(await viewer.http.post(f"{decided}/approve", json={}), 404, "not_found")
    assert (await ada.http.post(f"{decided}/approve", json={"role": "commenter"})).status_code == 204
    assert (await editor.http.get(f"/v1/documents/{document['id']}")).json()["role"] == "commenter"
    problem(await ada.http.post(f"{decided}/approve", json={}), 404, "access_request_not_found")
    problem(await editor.http.post(path, json={"role": "viewer"}), 409, "access_granted")
    assert (await editor.http.post(path, json={"role": "editor"})).status_code == 202
    [request] = (await ada.http.get(path)).json()["items"]
    assert (await ada.http.post(f"{path}/{request['id']}/dismiss")).status_code == 204
    assert (await editor.http.get(f"/v1/documents/{document['id']}")).json()["role"] == "commenter"
    async with await psycopg.AsyncConnection.connect(environment["MDC_ADMIN_DATABASE_URL"]) as connection:
        cursor = await connection.execute(
            "SELECT type, data->>'approved' FROM documents.event WHERE data->>'node_id' = %s ORDER BY id",
            (document["id"],),
        )
        assert [(type_.split(".")[2], approved) for type_, approved in await cursor.fetchall()] == [
            ("created", None), ("decided", "true"), ("created", None), ("decided", "false")
        ]  # fmt: skip
