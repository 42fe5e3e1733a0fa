"""Bytes no file has: known at once, collected by an index, never from under a file that is just being made."""

import asyncio
from uuid import UUID

import pytest
from desk import begin, complete, examined, send_all, upload

from common.auth import Principal
from common.identifiers import uuid7
from files.repository import BlobRepository, FileRepository
from files.service import Caretaker, Grace

DATA = b"shared\n"


async def blobs(own, workspace):
    async with own.platform.worker.transaction() as transaction:
        return await transaction.all(
            "SELECT sha256, size, object_key, media_type, unused_at IS NOT NULL AS unused FROM files.blob "
            "WHERE workspace_id = %(id)s",
            {"id": UUID(workspace)},
        )


async def delete(person, file):
    assert (await person.http.delete(f"/v1/files/{file['id']}")).status_code == 204


async def unused(own, workspace):
    return [row["unused"] for row in await blobs(own, workspace)]


async def test_bytes_say_at_once_whether_a_file_has_them(own, ada, workspace):
    one = await upload(ada, workspace, DATA)
    two = await upload(ada, workspace, DATA, filename="other.txt")
    assert await unused(own, workspace) == [False]
    await delete(ada, one)
    assert await unused(own, workspace) == [False]
    await delete(ada, two)
    assert await unused(own, workspace) == [True]
    again = await upload(ada, workspace, DATA)
    assert await unused(own, workspace) == [False]
    await delete(ada, again)
    assert await unused(own, workspace) == [True]


async def test_the_last_two_files_deleted_at_once_leave_their_bytes_unused(own, ada, workspace):
    first = await upload(ada, workspace, DATA)
    files = [first] + [await upload(ada, workspace, DATA, filename=f"{n}.txt") for n in range(7)]
    await asyncio.gather(*(delete(ada, file) for file in files))
    assert await unused(own, workspace) == [True]


@pytest.fixture
async def left(own, ada, workspace):
    """Bytes whose last file is gone; as they would be kept again."""
    await delete(ada, await examined(ada, (await upload(ada, workspace, DATA))["id"]))
    [row] = await blobs(own, workspace)
    return {name: row[name] for name in ("object_key", "size", "media_type")}, bytes(row["sha256"])


def files_of(person, transaction):
    return FileRepository(transaction, Principal(person.id, person.session_id, 0))


async def test_bytes_are_not_collected_while_a_file_is_made_of_them(own, ada, workspace, left):
    blob, sha256 = left
    file = {"id": uuid7(), "workspace_id": UUID(workspace), "sha256": sha256, "name": "new.txt"}
    async with own.platform.database.transaction(ada.id) as transaction:
        files = files_of(ada, transaction)
        assert not await files.keep_bytes(UUID(workspace), sha256, blob | {"object_key": "files/another/key"})
        async with own.platform.worker.transaction() as collecting:
            await BlobRepository(collecting).drop_unused(0, 500)
        await files.create(file, None)
    assert await unused(own, workspace) == [False]


async def test_bytes_collected_a_moment_ago_are_kept_anew(own, ada, workspace, left):
    blob, sha256 = left
    again = blob | {"object_key": f"files/{workspace}/{uuid7()}"}
    file = {"id": uuid7(), "workspace_id": UUID(workspace), "sha256": sha256, "name": "new.txt"}
    async with own.platform.database.transaction(ada.id) as transaction:
        async with own.platform.worker.transaction() as collecting:
            await BlobRepository(collecting).drop_unused(0, 500)
            keeping = asyncio.create_task(files_of(ada, transaction).keep_bytes(UUID(workspace), sha256, again))
        assert await keeping
        await files_of(ada, transaction).create(file, None)
    assert [row["object_key"] for row in await blobs(own, workspace)] == [again["object_key"]]


async def test_who_examines_and_who_deletes_do_not_wait_for_each_other(own, ada, workspace):
    file = await examined(ada, (await upload(ada, workspace, DATA))["id"])
    [row] = await blobs(own, workspace)
    facts = dict.fromkeys(("problem", "width", "height", "pages", "tokens"))
    facts |= {"state": "ready", "media_type": "text/plain", "thumbnails": []}

    async def examine():
        async with own.platform.worker.transaction() as examining:
            await BlobRepository(examining).examined({**row, "workspace_id": UUID(workspace)}, facts, [])

    async with own.platform.database.transaction(ada.id) as transaction:
        files = files_of(ada, transaction)
        locked = await files.find_for_update(UUID(file["id"]))
        examining = asyncio.create_task(examine())
        while not (await transaction.one("SELECT count(*) AS waiting FROM pg_locks WHERE NOT granted"))["waiting"]:
            await asyncio.sleep(0.01)
        await files.delete(locked)
    await examining
    assert await unused(own, workspace) == [True]


async def test_uploads_of_the_same_bytes_beside_a_greedy_caretaker_all_succeed(own, ada, workspace):
    greedy = Caretaker(own.platform.worker, own.resources.objects, Grace(1, 0))
    done = asyncio.Event()

    async def collect():
        while not done.is_set():
            await greedy.tidy()

    async def come_and_go(number):
        for turn in range(4):
            begun = await begin(ada, workspace, DATA, filename=f"{number}-{turn}.txt")
            file = {"id": begun["file_id"]}
            if not begun["deduplicated"]:
                await send_all(ada, begun, DATA)
                answer = await complete(ada, begun)
                assert answer.status_code == 200, answer.text
            await delete(ada, file)

    collecting = asyncio.create_task(collect())
    try:
        await asyncio.gather(*map(come_and_go, range(4)))
    finally:
        done.set()
        await collecting


async def test_what_the_caretaker_asks_each_minute_is_answered_by_indexes(own):
    asked = []
    async with own.platform.worker.transaction() as transaction:

        async def explained(statement, params=None):
            if statement.startswith(("DELETE", "WITH", "SELECT")):
                asked.append(statement)
                await transaction.one("SELECT set_config('enable_seqscan', 'off', true)")
                plan = await transaction.all(f"EXPLAIN {statement}", params)
                plans.append("\n".join(row["QUERY PLAN"] for row in plan))
            return []

        plans = []
        seen = BlobRepository(transaction)
        seen.transaction = type("Asked", (), {"all": staticmethod(explained), "execute": staticmethod(explained)})
        await seen.drop_orphans(1, 500)
        await seen.drop_unused(1, 500)
        await seen.garbage(500)
    orphans, dropped, garbage = plans
    assert "ix_file_orphaned_at" in orphans
    assert "ix_blob_unused_at" in dropped
    assert "ix_garbage_due_at" in garbage
    assert "Seq Scan" not in orphans + dropped + garbage
