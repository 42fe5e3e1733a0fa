"""Deleting for good: who may, what goes with it, what stays, and the texts nothing refers to any more."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from common.database import DatabaseUnavailableError
from common.identifiers import uuid7
from common.objects import FolderStore, ObjectMissingError
from common.testing.checks import problem
from documents.service import Caretaker
from documents.storage import BodyStore

LARGE = "# Large\n" + "word " * 6000


@pytest.fixture
async def caretaker(environment, open_database, tmp_path):
    """Beside the service's own; with its store, and no patience."""
    bodies = BodyStore(FolderStore(Path(environment["MDC_OBJECTS_DIR"])), inline_below=16 * 1024, limit=10**7)
    return Caretaker(await open_database("DOCUMENTS_WORKER_DATABASE_URL"), bodies, 30)


async def trash(person, kind, node):
    answer = await person.http.delete(f"/v1/{kind}s/{node['id']}")
    assert answer.status_code == 204, answer.text


async def purge(person, kind, node, **headers):
    return await person.http.delete(f"/v1/{kind}s/{node['id']}", params={"permanent": "true"}, headers=headers)


async def stored(role, node, table="version", column="document_id"):
    cursor = await role.execute(f"SELECT count(*) AS n FROM documents.{table} WHERE {column} = %s", (node["id"],))
    return (await cursor.fetchone())["n"]


async def events(role, node):
    cursor = await role.execute(
        "SELECT type, aggregate_version FROM documents.outbox_sent WHERE aggregate_id = %(id)s UNION ALL "
        "SELECT type, aggregate_version FROM documents.outbox WHERE aggregate_id = %(id)s ORDER BY 2",
        {"id": node["id"]},
    )
    return [(row["type"], row["aggregate_version"]) for row in await cursor.fetchall()]


async def test_what_is_in_the_trash_is_deleted_for_good_with_its_versions(people, place, as_owner_role):
    document = await people.document(place.owner, place.id, "one\n")
    refused = await purge(place.owner, "document", document)
    assert problem(refused, 409, "document_not_trashed")
    await trash(place.owner, "document", document)
    assert (await purge(place.owner, "document", document)).status_code == 204
    for path in ("", "/content", "/versions", "/versions/1/content"):
        assert (await place.owner.http.get(f"/v1/documents/{document['id']}{path}")).status_code == 404
    assert (await purge(place.owner, "document", document)).status_code == 404
    assert (await place.owner.http.post(f"/v1/documents/{document['id']}/restore")).status_code == 404
    assert await stored(as_owner_role, document) == 0
    assert (await events(as_owner_role, document))[-1] == ("documents.document.purged.v1", 3)


async def test_an_id_deleted_for_good_is_never_used_again(people, place):
    document = await people.document(place.owner, place.id, "one\n", id=str(uuid7()))
    await trash(place.owner, "document", document)
    await purge(place.owner, "document", document)
    body = {"workspace_id": place.id, "title": "again", "id": document["id"]}
    assert problem(await place.owner.http.post("/v1/documents", json=body), 409, "document_exists")
    body = {"workspace_id": place.id, "name": "again", "id": document["id"]}
    assert problem(await place.owner.http.post("/v1/folders", json=body), 409, "folder_exists")


async def test_who_may_delete_for_good(people, place):
    """Who manages it, or who made it; a commenter may not even throw it away."""
    document = await people.document(place.owner, place.id)
    await trash(place.editor, "document", document)
    assert problem(await purge(place.editor, "document", document), 403, "role_insufficient")
    assert problem(await purge(place.viewer, "document", document), 403, "role_insufficient")
    assert problem(await purge(place.stranger, "document", document), 404, "document_not_found")
    own = await people.document(place.editor, place.id)
    await trash(place.editor, "document", own)
    assert (await purge(place.editor, "document", own)).status_code == 204
    assert (await purge(place.owner, "document", document)).status_code == 204


async def test_it_is_deleted_only_as_it_was_seen(people, place):
    document = await people.document(place.owner, place.id)
    await trash(place.owner, "document", document)
    stale = await purge(place.owner, "document", document, **{"If-Match": '"v1"'})
    assert problem(stale, 412, "version_stale")["version"] == 2
    assert (await purge(place.owner, "document", document, **{"If-Match": '"v2"'})).status_code == 204


async def test_whoever_restores_it_at_the_same_moment_has_it_whole_or_not_at_all(people, place):
    for _ in range(8):
        document = await people.document(place.owner, place.id, "kept\n")
        await trash(place.owner, "document", document)
        restored, purged = await asyncio.gather(
            place.editor.http.post(f"/v1/documents/{document['id']}/restore"), purge(place.owner, "document", document)
        )
        read = await place.owner.http.get(f"/v1/documents/{document['id']}/content")
        if purged.status_code == 204:
            assert (restored.status_code, read.status_code) in {(404, 404), (200, 404)}
        else:
            assert problem(purged, 409, "document_not_trashed")
            assert (restored.status_code, read.text) == (200, "kept\n")


async def test_its_access_rules_end_with_it(people, place, as_owner_role):
    document = await people.document(place.owner, place.id, restricted=True)
    await trash(place.owner, "document", document)
    assert (await purge(place.owner, "document", document)).status_code == 204
    cursor = await as_owner_role.execute(
        "SELECT removed FROM documents.access_root WHERE root_id = %s", (document["id"],)
    )
    assert (await cursor.fetchone())["removed"]
    assert await stored(as_owner_role, document, "access_grant", "root_id") == 0


async def test_a_folder_is_deleted_with_what_lies_in_the_trash_in_it(people, place, as_owner_role):
    outer = await people.folder(place.owner, place.id, "outer")
    inner = await people.folder(place.owner, place.id, "inner", outer["id"])
    before = await people.document(place.owner, place.id, folder_id=inner["id"])
    await trash(place.owner, "document", before)
    document = await people.document(place.owner, place.id, folder_id=inner["id"])
    assert problem(await purge(place.owner, "folder", outer), 409, "folder_not_trashed")
    await trash(place.owner, "folder", outer)
    assert problem(await purge(place.editor, "folder", outer), 403, "role_insufficient")
    assert (await purge(place.owner, "folder", outer)).status_code == 204
    for kind, node in (("folder", outer), ("folder", inner), ("document", before), ("document", document)):
        assert (await place.owner.http.get(f"/v1/{kind}s/{node['id']}")).status_code == 404
        assert (await events(as_owner_role, node))[-1][0] == f"documents.{kind}.purged.v1"


async def test_what_is_hidden_in_a_folder_is_not_deleted_with_it(people, place):
    admin = await people.person("Admin")
    await people.join(place.id, admin, "admin")
    folder = await people.folder(place.owner, place.id, "shared")
    hidden = await people.document(place.editor, place.id, "my own\n", folder_id=folder["id"], restricted=True)
    await trash(admin, "folder", folder)
    assert (await purge(admin, "folder", folder)).status_code == 204
    head = (await place.editor.http.get(f"/v1/documents/{hidden['id']}")).json()
    assert (head["folder_id"], head["trashed_at"]) == (None, None)
    assert (await place.editor.http.get(f"/v1/documents/{hidden['id']}/content")).text == "my own\n"


async def test_the_trash_is_emptied_after_thirty_days(people, place, as_owner_role, caretaker):
    folder = await people.folder(place.owner, place.id, "old")
    inner = await people.folder(place.owner, place.id, "in old", folder["id"])
    old = await people.document(place.owner, place.id, folder_id=inner["id"])
    fresh = await people.document(place.owner, place.id)
    living = await people.document(place.owner, place.id)
    await trash(place.owner, "folder", folder)
    await trash(place.owner, "document", fresh)
    for table in ("document", "folder"):
        await as_owner_role.execute(
            f"UPDATE documents.{table} SET trashed_at = trashed_at - interval '31 days' WHERE trashed_with = %s",
            (folder["id"],),
        )
    await caretaker.tidy()
    for kind, node in (("document", old), ("folder", inner), ("folder", folder)):
        assert (await place.owner.http.get(f"/v1/{kind}s/{node['id']}")).status_code == 404
        assert (await events(as_owner_role, node))[-1][0] == f"documents.{kind}.purged.v1"
    assert (await place.owner.http.get(f"/v1/documents/{fresh['id']}")).json()["trashed_at"]
    assert (await place.owner.http.get(f"/v1/documents/{living['id']}")).status_code == 200


@pytest.mark.parametrize("content", ["small and shared\n", LARGE])
async def test_texts_go_once_no_version_has_them(people, place, as_owner_role, environment, caretaker, content):
    content += str(uuid4())
    first = await people.document(place.owner, place.id, content)
    second = await people.document(place.owner, place.id, content)
    objects = FolderStore(Path(environment["MDC_OBJECTS_DIR"]))

    async def bodies():
        cursor = await as_owner_role.execute(
            "SELECT sha256 FROM documents.body WHERE workspace_id = %s AND size = %s AND sha256 = %s",
            (place.id, len(content), first["content_hash"]),
        )
        return len(await cursor.fetchall())

    key = f"bodies/{place.id}/{first['content_hash']}"
    await trash(place.owner, "document", first)
    await purge(place.owner, "document", first)
    await caretaker.tidy()
    assert await bodies() == 1
    assert (await place.owner.http.get(f"/v1/documents/{second['id']}/content")).text == content
    await trash(place.owner, "document", second)
    await purge(place.owner, "document", second)
    await caretaker.tidy()
    assert await bodies() == 0
    if content.startswith("# Large"):
        with pytest.raises(ObjectMissingError):
            await objects.get(key)
    third = await people.document(place.owner, place.id, content)
    assert (await place.owner.http.get(f"/v1/documents/{third['id']}/content")).text == content


async def test_a_text_is_not_written_while_its_object_is_being_removed(people, place, as_owner_role, caretaker):
    """Else the object would be removed after it was put, and an acknowledged text be lost."""
    content = LARGE + str(uuid4())
    document = await people.document(place.owner, place.id, content)
    await trash(place.owner, "document", document)
    await purge(place.owner, "document", document)
    await caretaker._take()
    refused = await place.owner.http.post(
        "/v1/documents", json={"workspace_id": place.id, "title": "again", "content": content}
    )
    assert refused.status_code == 503
    await caretaker._remove()
    again = await people.document(place.owner, place.id, content)
    assert (await place.owner.http.get(f"/v1/documents/{again['id']}/content")).text == content


async def test_nothing_is_collected_while_somebody_may_be_about_to_refer_to_it(people, place, as_owner_role, caretaker):
    document = await people.document(place.owner, place.id, f"{uuid4()}\n")
    await trash(place.owner, "document", document)
    await purge(place.owner, "document", document)
    async with as_owner_role.transaction():
        await as_owner_role.execute(
            "INSERT INTO documents.body (workspace_id, sha256, size, data) VALUES (%s, %s, 1, 'x') "
            "ON CONFLICT DO NOTHING",
            (place.id, document["content_hash"]),
        )
        with pytest.raises(DatabaseUnavailableError):
            await caretaker._take()
    assert await caretaker._take()
    assert await caretaker._take() == 0


async def test_texts_written_again_while_garbage_is_collected_are_kept(people, place, caretaker):
    """Writers and collector at once, on the same few texts: whatever was acknowledged is there."""
    texts = [f"text {n} {uuid4()}\n" for n in range(3)] + [f"{LARGE}{uuid4()}"]
    kept = []

    async def write(content):
        for n in range(6):
            answer = await place.owner.http.post(
                "/v1/documents", json={"workspace_id": place.id, "title": f"{n}", "content": content}
            )
            assert answer.status_code in {201, 503}, answer.text
            if answer.status_code != 201:
                continue
            document = answer.json()
            if n % 2:
                kept.append((document, content))
                continue
            await trash(place.owner, "document", document)
            assert (await purge(place.owner, "document", document)).status_code == 204

    async def collect():
        while True:
            await caretaker.tidy()

    collector = asyncio.create_task(collect())
    await asyncio.gather(*map(write, texts))
    collector.cancel()
    assert kept
    for document, content in kept:
        assert (await place.owner.http.get(f"/v1/documents/{document['id']}/content")).text == content
