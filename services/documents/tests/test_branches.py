"""Copies of documents and folders, and their way to another workspace, with all that lies in them."""

import asyncio
from collections import Counter
from uuid import uuid4

import psycopg
import pytest

from common.identifiers import uuid7
from common.testing.checks import problem

from .test_access import grant, listed, restrict, revoke, statuses, user
from .test_folders import names, tree_of

LARGE = "".join(f"line {n} of a large document\n\n" for n in range(2_000))


async def duplicate(person, kind, node, **fields):
    return await person.http.post(f"/v1/{kind}/{node['id']}/duplicate", json=fields)


async def take(person, kind, node, workspace, into=None, **fields):
    where = {"documents": "folder_id", "folders": "parent_id"}[kind]
    body = {"workspace_id": workspace, where: into and into["id"], **fields}
    return await person.http.post(f"/v1/{kind}/{node['id']}/move", json=body)


async def content(person, document):
    answer = await person.http.get(f"/v1/documents/{document['id']}/content")
    return answer.text if answer.status_code == 200 else answer.status_code


async def save(person, document, text, version):
    return await person.http.put(
        f"/v1/documents/{document['id']}/content", json={"content": text}, headers={"If-Match": f'"v{version}"'}
    )


@pytest.fixture
async def two(people):
    """Ada's two workspaces; Bo edits and Cy views in the first, Bo edits in the second, too."""
    ada, bo, cy = [await people.person(name) for name in ("Ada", "Bo", "Cy")]
    first, second = [await people.workspace(ada) for _ in range(2)]
    await people.join(first, bo, "editor")
    await people.join(second, bo, "editor")
    await people.join(first, cy, "viewer")
    return ada, bo, cy, first, second


# Copies


@pytest.mark.parametrize("text", ["a\r\nb", LARGE])
async def test_a_copy_of_a_document_lies_beside_it_and_lives_its_own_life(people, two, text):
    ada, bo, _cy, first, _second = two
    folder = await people.folder(ada, first)
    document = await people.document(ada, first, text, title="Plan", folder_id=folder["id"])
    answer = await duplicate(bo, "documents", document)
    copy = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/documents/{copy['id']}")
    assert (copy["title"], copy["folder_id"], copy["version"]) == ("Plan (copy)", folder["id"], 1)
    assert (copy["content_hash"], copy["created_by"]) == (document["content_hash"], str(bo.id))
    assert copy["position"] > document["position"]
    assert (await save(bo, copy, "changed\n", 1)).status_code == 200
    assert [await content(ada, one) for one in (document, copy)] == [text, "changed\n"]
    versions = (await bo.http.get(f"/v1/documents/{copy['id']}/versions")).json()["items"]
    assert [(one["n"], one["origin"]) for one in versions] == [(2, "save"), (1, "duplicate")]


async def test_a_copy_is_named_and_placed_as_wanted(people, two):
    ada, bo, cy, first, _second = two
    folder = await people.folder(ada, first)
    document = await people.document(ada, first, "a\n", title="x" * 500)
    wanted = {"title": "Other", "folder_id": folder["id"], "id": str(uuid7())}
    copy = (await duplicate(bo, "documents", document, **wanted)).json()
    assert {name: copy[name] for name in wanted} == wanted
    problem(await duplicate(bo, "documents", document, **wanted), 409, "document_exists")
    problem(await duplicate(bo, "documents", document, folder_id=str(uuid4())), 404, "folder_not_found")
    problem(await duplicate(cy, "documents", document), 403, "role_insufficient")
    long = (await duplicate(bo, "documents", document)).json()["title"]
    assert (len(long), long[-7:]) == (500, " (copy)")
    await ada.http.delete(f"/v1/documents/{document['id']}")
    problem(await duplicate(bo, "documents", document), 409, "document_trashed")
    problem(await duplicate(bo, "documents", {"id": uuid4()}), 404, "document_not_found")


async def test_a_copy_with_a_key_is_made_once(people, two):
    ada, _bo, _cy, first, _second = two
    document = await people.document(ada, first, "a\n")
    path, headers = f"/v1/documents/{document['id']}/duplicate", {"Idempotency-Key": uuid4().hex}
    answers = await asyncio.gather(*(ada.http.post(path, json={}, headers=headers) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(await listed(ada, first)) == 2


async def test_a_folder_is_copied_with_all_that_lives_in_it(people, two):
    ada, bo, _cy, first, _second = two
    a = await people.folder(ada, first, "a")
    b = await people.folder(ada, first, "b", a["id"])
    gone = await people.folder(ada, first, "gone", a["id"])
    for folder in (a, b, gone):
        await people.document(ada, first, f"in {folder['name']}\n", folder_id=folder["id"], title=folder["name"])
    trashed = await people.document(ada, first, "x\n", folder_id=b["id"], title="trashed")
    await ada.http.delete(f"/v1/documents/{trashed['id']}")
    await ada.http.delete(f"/v1/folders/{gone['id']}")
    answer = await duplicate(bo, "folders", a)
    assert (answer.status_code, answer.json()["name"]) == (201, "a (copy)")
    tree = await tree_of(bo, answer.json())
    assert names(tree) == ["a (copy)", ["b", "b"], "a"]
    assert await content(bo, tree["folders"][0]["documents"][0]) == "in b\n"
    inside = await duplicate(bo, "folders", a, parent_id=b["id"], name="inner")
    assert names(await tree_of(bo, a)) == ["a", ["b", ["inner", ["b", "b"], "a"], "b"], "a"]
    assert inside.json()["parent_id"] == b["id"], "a copy may lie in what it is a copy of"


async def test_copies_of_what_is_restricted_are_the_callers_alone(people, two):
    """What somebody may not read is not in their copy; what only some may read is not opened to all by copying it."""
    ada, bo, cy, first, _second = two
    folder = await people.folder(ada, first)
    shared = await people.document(ada, first, "shared\n", folder_id=folder["id"], title="shared")
    await restrict(ada, "documents", shared, **{user(ada): "owner", user(bo): "viewer"})
    hidden = await people.document(ada, first, "hidden\n", folder_id=folder["id"], title="hidden")
    await restrict(ada, "documents", hidden)
    opened = await people.document(ada, first, "opened\n", folder_id=folder["id"], title="opened")
    assert (await grant(ada, "documents", opened, cy, "editor")).status_code == 200
    tree = await tree_of(bo, (await duplicate(bo, "folders", folder)).json())
    copies = {one["title"]: one for one in tree["documents"]}
    assert set(copies) == {"shared", "opened"}
    assert (copies["shared"]["restricted"], copies["shared"]["role"]) == (True, "owner")
    assert await statuses("documents", copies["shared"], bo, cy) == [200, 404]
    assert (await cy.http.get(f"/v1/documents/{copies['opened']['id']}")).json()["role"] == "viewer"
    alone = (await duplicate(bo, "documents", shared)).json()
    assert await statuses("documents", alone, bo, ada, cy) == [200, 403, 404], "an owner has to take access"


# To another workspace


@pytest.mark.parametrize("text", ["a\n", LARGE])
async def test_a_document_goes_to_another_workspace_with_its_history(people, two, text):
    ada, bo, cy, first, second = two
    document = await people.document(ada, first, text)
    await save(bo, document, text + "more\n", 1)
    await save(ada, document, text + "more\nand more\n", 2)
    target = await people.folder(bo, second)
    answer = await take(ada, "documents", document, second, target)
    moved = answer.json()
    assert (answer.status_code, moved["workspace_id"], moved["folder_id"]) == (200, second, target["id"])
    assert (moved["version"], moved["content_version"]) == (4, 3)
    assert await statuses("documents", document, ada, bo, cy) == [200, 200, 404]
    assert await content(bo, document) == text + "more\nand more\n"
    old = await bo.http.get(f"/v1/documents/{document['id']}/versions/1/content")
    assert old.text == text
    merged = await save(bo, document, text + "more\nand more\nlast\n", 3)
    assert (merged.status_code, merged.json()["merged"]) == (200, False)
    assert [document["id"] in await listed(ada, workspace) for workspace in (first, second)] == [False, True]


async def test_what_moves_is_told_with_where_it_was(people, two, environment):
    ada, _bo, _cy, first, second = two
    document = await people.document(ada, first, "a\n")
    await take(ada, "documents", document, second)
    async with await psycopg.AsyncConnection.connect(environment["MDC_ADMIN_DATABASE_URL"]) as connection:
        cursor = await connection.execute(
            "SELECT data FROM documents.event WHERE aggregate_id = %s AND aggregate_version = 2", (document["id"],)
        )
        [(data,)] = await cursor.fetchall()
    told = {name: data[name] for name in ("workspace_id", "access_root_id", "origin")}
    assert told == {"workspace_id": second, "access_root_id": second, "origin": "move"}
    assert (data["previous_workspace_id"], data["previous_root_id"]) == (first, first)


async def test_grants_do_not_travel_and_what_is_restricted_stays_so(people, two):
    ada, bo, cy, first, second = two
    closed, opened = [await people.document(ada, first, "a\n") for _ in range(2)]
    await restrict(ada, "documents", closed, **{user(ada): "owner", user(bo): "editor"})
    assert (await grant(ada, "documents", opened, cy, "editor")).status_code == 200
    for document in (closed, opened):
        assert (await take(ada, "documents", document, second)).status_code == 200
    assert await statuses("documents", closed, ada, bo, cy) == [200, 404, 404]
    assert await statuses("documents", opened, ada, bo, cy) == [200, 200, 404]
    assert (await ada.http.get(f"/v1/documents/{opened['id']}/access")).json()["grants"] == []
    assert (await restrict(ada, "documents", opened))["restricted"] is True, "it can have rules in its new workspace"


async def test_only_who_manages_takes_away_and_only_to_where_they_write(people, two):
    ada, bo, cy, first, second = two
    theirs = await people.workspace(bo)
    await people.join(theirs, ada, "viewer")
    document, folder = await people.document(ada, first, "a\n"), await people.folder(ada, first)
    for kind, node in (("documents", document), ("folders", folder)):
        problem(await take(bo, kind, node, second), 403, "role_insufficient")
        problem(await take(cy, kind, node, second), 404, "workspace_not_found")
        problem(await take(ada, kind, node, str(uuid4())), 404, "workspace_not_found")
        stale = await ada.http.post(
            f"/v1/{kind}/{node['id']}/move",
            json={"workspace_id": second, {"documents": "folder_id", "folders": "parent_id"}[kind]: None},
            headers={"If-Match": '"v9"'},
        )
        problem(stale, 412, "version_unknown")
    problem(await take(ada, "documents", document, theirs), 403, "role_insufficient")
    elsewhere = await people.folder(ada, first)
    problem(await take(ada, "documents", document, second, elsewhere), 404, "folder_not_found")
    own = await people.document(bo, first, "mine\n")
    assert (await take(bo, "documents", own, theirs)).status_code == 200, "whoever made it may take it along"
    assert await statuses("documents", own, bo, cy) == [200, 404]
    same = await take(bo, "documents", document, first, folder)
    assert (same.status_code, same.json()["folder_id"]) == (200, folder["id"]), "its own workspace: an ordinary move"


async def test_a_folder_goes_with_all_in_it_but_for_what_the_mover_does_not_see(people, two):
    ada, bo, cy, first, second = two
    await people.join(second, cy, "viewer")
    a = await people.folder(ada, first, "a")
    b = await people.folder(ada, first, "b", a["id"])
    inside = await people.document(ada, first, "in b\n", folder_id=b["id"], title="in b")
    trashed = await people.document(ada, first, "t\n", folder_id=b["id"])
    await ada.http.delete(f"/v1/documents/{trashed['id']}")
    closed = await people.folder(ada, first, "closed", a["id"])
    await restrict(ada, "folders", closed)
    secret = await people.document(ada, first, "secret\n", folder_id=closed["id"])
    hidden = await people.document(bo, first, "bo's\n", folder_id=b["id"], title="hidden")
    await restrict(bo, "documents", hidden)
    below = await people.folder(bo, first, "below", a["id"])
    await restrict(ada, "folders", below, **{user(bo): "owner"})
    assert (await revoke(bo, "folders", below, ada)).status_code == 204
    deep = await people.document(bo, first, "deep\n", folder_id=below["id"])
    target = await people.folder(ada, second, "target")
    answer = await take(ada, "folders", a, second, target)
    moved = answer.json()
    assert (answer.status_code, moved["workspace_id"], moved["parent_id"]) == (200, second, target["id"])
    assert names(await tree_of(ada, target)) == ["target", ["a", ["b", "in b"], ["closed", "Note"]]]
    assert names(await tree_of(cy, target)) == ["target", ["a", ["b", "in b"]]]
    assert await statuses("documents", secret, ada, bo, cy) == [200, 404, 404]
    kept = (await bo.http.get(f"/v1/documents/{hidden['id']}")).json()
    assert (kept["workspace_id"], kept["folder_id"], kept["role"]) == (first, None, "owner")
    assert names(await tree_of(bo, below)) == ["below", "Note"]
    assert (await bo.http.get(f"/v1/documents/{deep['id']}")).json()["workspace_id"] == first
    opened = await bo.http.delete(f"/v1/documents/{hidden['id']}/access")
    assert opened.status_code == 204, opened.text
    assert await statuses("documents", hidden, cy) == [200], "its rights come from the old workspace again"
    assert (await ada.http.post(f"/v1/documents/{trashed['id']}/restore")).json()["folder_id"] == b["id"]
    assert await content(ada, inside) == "in b\n"


async def test_what_the_mover_sees_but_may_not_take_away_holds_the_folder(people, two):
    ada, bo, _cy, first, second = two
    folder = await people.folder(ada, first)
    document = await people.document(bo, first, "a\n", folder_id=folder["id"])
    await restrict(bo, "documents", document, **{user(bo): "owner", user(ada): "editor"})
    problem(await take(ada, "folders", folder, second), 403, "contents_protected")
    assert (await ada.http.get(f"/v1/folders/{folder['id']}")).json()["workspace_id"] == first


async def test_saves_while_a_document_changes_its_workspace_are_kept_or_refused(people, two):
    """Small and large: whatever was answered 200 can be read as a version afterwards."""
    ada, bo, _cy, first, second = two
    await people.join(second, _cy, "viewer")
    document = await people.document(ada, first, "start\n")
    texts = [f"{n}\n" if n % 2 else f"{n}\n" + LARGE for n in range(24)]

    async def write(text):
        answer = await bo.http.patch(
            f"/v1/documents/{document['id']}/content",
            json={"edits": [{"append": text}]},
            headers={"If-Match": '"v1"'},
        )
        return answer.status_code, text

    async def shuttle():
        done = 0
        for n in range(8):
            done += (await take(ada, "documents", document, second if n % 2 == 0 else first)).status_code == 200
        return done

    done, *written = await asyncio.gather(shuttle(), *(write(text) for text in texts))
    assert done >= 4
    outcome = Counter(status for status, _ in written)
    assert outcome[200] >= 8
    assert set(outcome) <= {200, 503}, outcome
    final = await content(ada, document)
    assert all(text in final for status, text in written if status == 200)
    versions = (await ada.http.get(f"/v1/documents/{document['id']}/versions", params={"limit": 200})).json()["items"]
    for one in versions:
        answer = await ada.http.get(f"/v1/documents/{document['id']}/versions/{one['n']}/content")
        assert answer.status_code == 200, one


async def test_two_take_the_same_folder_to_different_places_at_once(people, two):
    ada, _bo, _cy, first, second = two
    third = await people.workspace(ada)
    for _ in range(4):
        folder = await people.folder(ada, first)
        document = await people.document(ada, first, "a\n", folder_id=folder["id"])
        answers = await asyncio.gather(
            take(ada, "folders", folder, second), take(ada, "folders", folder, third),
            take(ada, "documents", document, third),
        )  # fmt: skip
        assert {answer.status_code for answer in answers} <= {200, 503}
        place = (await ada.http.get(f"/v1/folders/{folder['id']}")).json()
        found = (await ada.http.get(f"/v1/documents/{document['id']}")).json()
        assert found["folder_id"] is None or found["workspace_id"] == place["workspace_id"]
        assert await content(ada, document) == "a\n"
