"""A folder of thousands of documents is restricted, moved, copied, trashed: each in one transaction, in one request.

`TREE=10000` takes as many documents as the aim names; the log of the fleet, all in one process, then takes minutes.
"""

import asyncio
import os
import time
from uuid import UUID

import psycopg
import pytest

from common.identifiers import uuid7

from .test_access import restrict, statuses, user
from .test_branches import take

pytestmark = pytest.mark.timeout(600)

DOCUMENTS, FOLDERS = int(os.environ.get("TREE", "2000")), 100
REQUEST_SECONDS = 20.0
"""Where a client, or the gateway, would begin to give up."""

FILL = (
    "CREATE TEMP TABLE leaf AS SELECT gen_random_uuid() AS id, n FROM generate_series(1, %(folders)s) AS n",
    "INSERT INTO documents.folder (id, workspace_id, access_root_id, parent_id, name, position, version, "
    "field_versions, created_by, updated_by) "
    "SELECT id, %(workspace)s, %(workspace)s, %(top)s, 'leaf ' || n, 'a0', 1, '{}', %(user)s, %(user)s FROM leaf",
    "INSERT INTO documents.document (id, workspace_id, access_root_id, folder_id, title, kind, version, "
    "content_version, body_sha256, size, field_versions, created_by, updated_by) "
    "SELECT gen_random_uuid(), d.workspace_id, d.access_root_id, leaf.id, 'Note ' || x, d.kind, 1, 1, d.body_sha256, "
    "d.size, '{}', %(user)s, %(user)s FROM documents.document d, leaf, "
    "generate_series(1, %(documents)s / %(folders)s) AS x WHERE d.id = %(model)s",
    "INSERT INTO documents.version (document_id, n, workspace_id, body_sha256, size, title, author_id, contributors, "
    "origin, merged) SELECT d.id, 1, d.workspace_id, d.body_sha256, d.size, d.title, %(user)s, '{}', 'create', false "
    "FROM documents.document d JOIN leaf ON leaf.id = d.folder_id",
    # The log is to miss nothing of what was never told.
    "INSERT INTO sync.aggregate (id, producer, version) SELECT leaf.id, 'documents', 1 FROM leaf UNION ALL "
    "SELECT d.id, 'documents', 1 FROM documents.document d JOIN leaf ON leaf.id = d.folder_id",
)


@pytest.fixture
async def large(people, environment):
    """Ada's folder of thousands of documents in 100 folders, another folder of hers, and Cy, who views."""
    ada, cy = await people.person("Ada"), await people.person("Cy")
    workspace = await people.workspace(ada)
    await people.join(workspace, cy, "viewer")
    top, other = await people.folder(ada, workspace, "large"), await people.folder(ada, workspace, "other")
    model = await people.document(ada, workspace, "text\n")
    params = {
        "workspace": UUID(workspace), "top": UUID(top["id"]), "model": UUID(model["id"]), "user": ada.id,
        "folders": FOLDERS, "documents": DOCUMENTS,
    }  # fmt: skip
    async with await psycopg.AsyncConnection.connect(environment["MDC_ADMIN_DATABASE_URL"]) as admin:
        for statement in FILL:
            await admin.execute(statement, params)
        cursor = await admin.execute("SELECT id FROM documents.document WHERE folder_id = (SELECT min(id::text)::uuid "
                                     "FROM leaf) LIMIT 1")  # fmt: skip
        [(inside,)] = await cursor.fetchall()
    return ada, cy, workspace, top, other, {"id": str(inside)}


async def roots_of(environment, folder):
    """Access roots of all that lies in the folders in a folder -> how many have it."""
    async with await psycopg.AsyncConnection.connect(environment["MDC_ADMIN_DATABASE_URL"]) as admin:
        cursor = await admin.execute(
            "SELECT d.access_root_id::text, count(*) FROM documents.document d "
            "JOIN documents.folder f ON f.id = d.folder_id WHERE f.parent_id = %s GROUP BY 1",
            (folder["id"],),
        )
        return dict(await cursor.fetchall())


async def timed(what, request):
    begun = time.perf_counter()
    answer = await request
    assert time.perf_counter() - begun < REQUEST_SECONDS, what
    return answer


async def test_thousands_of_documents_change_their_root_at_once(large, people, environment):
    ada, cy, workspace, top, other, inside = large
    assert await roots_of(environment, top) == {workspace: DOCUMENTS}
    assert await statuses("documents", inside, cy) == [200]
    await timed("restrict", restrict(ada, "folders", top))
    assert await roots_of(environment, top) == {top["id"]: DOCUMENTS}
    assert await statuses("documents", inside, ada, cy) == [200, 404]
    opened = await timed("open again", ada.http.delete(f"/v1/folders/{top['id']}/access"))
    assert (opened.status_code, await statuses("documents", inside, cy)) == (204, [200])
    await restrict(ada, "folders", other, **{user(ada): "owner"})
    moved = await timed("move", take(ada, "folders", top, workspace, other))
    assert moved.status_code == 200
    assert await roots_of(environment, top) == {other["id"]: DOCUMENTS}
    assert await statuses("documents", inside, cy) == [404]
    second = await people.workspace(ada)
    taken = await timed("to another workspace", take(ada, "folders", top, second))
    assert taken.status_code == 200, taken.text
    assert await roots_of(environment, top) == {second: DOCUMENTS}
    assert (await ada.http.get(f"/v1/documents/{inside['id']}/versions/1/content")).text == "text\n"
    copied = await timed("copy", ada.http.post(f"/v1/folders/{top['id']}/duplicate", json={"id": str(uuid7())}))
    assert copied.status_code == 201, copied.text
    assert await roots_of(environment, copied.json()) == {second: DOCUMENTS}
    for what, expected, request in (
        ("trash", 204, ada.http.delete(f"/v1/folders/{top['id']}")),
        ("restore", 200, ada.http.post(f"/v1/folders/{top['id']}/restore")),
    ):
        answer = await timed(what, request)
        assert answer.status_code == expected
    assert await statuses("documents", inside, ada) == [200]
    await told(environment, second)


async def told(environment, workspace):
    """Until the log has all of it: what comes after would wait behind it."""
    behind = (
        "SELECT count(*) FROM documents.document d LEFT JOIN sync.aggregate a ON a.id = d.id "
        "WHERE d.workspace_id = %s AND coalesce(a.version, 0) < d.version"
    )
    async with (
        await psycopg.AsyncConnection.connect(environment["MDC_ADMIN_DATABASE_URL"], autocommit=True) as admin,
        asyncio.timeout(400),
    ):
        while await (await admin.execute(behind, (workspace,))).fetchone() != (0,):
            await asyncio.sleep(0.5)
