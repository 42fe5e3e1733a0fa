"""Store and tables are compared: whatever differs is named, whatever is in progress is not."""

import hashlib
import os
import time
from uuid import uuid4

import pytest
from desk import begin, complete, examined, send_all, upload

from common.identifiers import uuid7
from common.objects import FolderStore, ObjectStoreUnavailableError
from files import fsck
from files.service import Caretaker, Grace, Inventory

DATA = b"kept\n"
HOUR = 3600


class Shelf:
    """A workspace of rows and objects, made without the service."""

    def __init__(self, worker, store):
        self.worker = worker
        self.store = store
        self.workspace = uuid7()

    async def execute(self, statement, **parameters):
        async with self.worker.transaction() as transaction:
            await transaction.execute(statement, {"workspace": self.workspace, **parameters})

    async def blob(self, data=DATA, stored=None, thumbnails=(), due=False):
        """Its key; sound unless other bytes (or, with b"", none) are stored."""
        key = f"files/{self.workspace}/{uuid4()}"
        stored = data if stored is None else stored
        if stored:
            await self.store.put(key, stored)
        await self.execute(
            "INSERT INTO files.blob (workspace_id, sha256, object_key, size, media_type, state, thumbnails, unused_at, "
            "due_at) VALUES (%(workspace)s, %(sha256)s, %(key)s, %(size)s, 'text/plain', 'ready', %(thumbnails)s, "
            "now(), CASE WHEN %(due)s THEN now() + interval '1 hour' END)",
            sha256=hashlib.sha256(data).digest(), key=key, size=len(data), thumbnails=list(thumbnails), due=due,
        )  # fmt: skip
        await self.count("used", len(data))
        return key

    async def upload(self, key, parts=None, size=7):
        await self.execute(
            "INSERT INTO files.upload (id, file_id, workspace_id, user_id, name, media_type, size, sha256, object_key, "
            "store_upload, part_size, state, expires_at) VALUES (%(id)s, %(id)s, %(workspace)s, %(id)s, 'a', 'b', "
            "%(size)s, '', %(key)s, %(parts)s, 5, 'open', now() + interval '1 hour')",
            id=uuid4(), key=key, parts=parts, size=size,
        )  # fmt: skip
        await self.count("reserved", size)

    async def count(self, column, size):
        await self.execute(
            f"INSERT INTO files.quota (workspace_id, {column}) VALUES (%(workspace)s, %(size)s) "
            f"ON CONFLICT (workspace_id) DO UPDATE SET {column} = files.quota.{column} + excluded.{column}",
            size=size,
        )

    async def differences(self, grace=-HOUR, **options):
        """Those of this workspace, without its name."""
        found = await Inventory(self.worker, self.store, grace).differences(**options)
        prefix = f"files/{self.workspace}/"
        return [str(one).replace(prefix, "") for one in found if str(self.workspace) in one.name]


@pytest.fixture
async def shelf(own, store):
    made = Shelf(own.platform.worker, store)
    yield made
    for table in ("blob", "upload", "quota"):
        await made.execute(f"DELETE FROM files.{table} WHERE workspace_id = %(workspace)s")
    await made.execute("DELETE FROM files.garbage WHERE object_key LIKE %(mine)s", mine=f"files/{made.workspace}/%")


def name(key):
    return key.rpartition("/")[2]


async def test_what_belongs_together_is_no_difference(shelf):
    key = await shelf.blob(thumbnails=[256])
    await shelf.store.put(f"{key}.256.webp", b"image")
    single, many, gone = (f"files/{shelf.workspace}/{uuid4()}" for _ in range(3))
    await shelf.store.put(single, b"sent")
    await shelf.upload(single)
    await shelf.upload(many, await shelf.store.begin(many))
    await shelf.store.put(gone, b"garbage")
    await shelf.execute("INSERT INTO files.garbage VALUES (%(key)s, NULL, '{}', now())", key=gone)
    due = await shelf.blob(b"examined right now", due=True)
    await shelf.store.put(f"{due}.1024.webp", b"not noted yet")
    assert await shelf.differences(hashed=True) == []


async def test_each_kind_of_difference_is_named(shelf):
    here, key = shelf.workspace, f"files/{shelf.workspace}/{uuid4()}"
    await shelf.store.put(f"files/{here}/nobodys", b"xx")
    missing, short = await shelf.blob(b"never sent", stored=b""), await shelf.blob(b"longer", stored=b"short")
    other = await shelf.blob(b"right", stored=b"wrong")
    bare = await shelf.blob(b"no thumbnail", thumbnails=[256])
    parts = await shelf.store.begin(f"files/{here}/lost")
    await shelf.upload(key, "0" * 32)
    await shelf.count("used", 1)
    await shelf.execute("UPDATE files.quota SET reserved = reserved - 2 WHERE workspace_id = %(workspace)s")
    await shelf.execute("UPDATE files.blob SET unused_at = NULL WHERE object_key = %(key)s", key=bare)
    wrong = hashlib.sha256(b"wrong").hexdigest()
    shorter = hashlib.sha256(b"short").hexdigest()
    expected = [
        "object without a row: nobodys (2 bytes)",
        f"other size: {name(short)} 5 bytes, 6 expected",
        f"parts without an upload: lost {parts}",
        f"row without an object: {name(bare)}.256.webp",
        f"row without an object: {name(missing)} (10 bytes)",
        f"upload without its parts: {name(key)} {'0' * 32}",
        f"wrong mark of use: {name(bare)} (None)",
        f"wrong quota: {here} reserved is 5, rows say 7",
        f"wrong quota: {here} used is 34, rows say 33",
    ]
    assert await shelf.differences() == sorted(expected)
    read = [f"other bytes: {name(other)} SHA-256 is {wrong}", f"other bytes: {name(short)} SHA-256 is {shorter}"]
    assert await shelf.differences(hashed=True) == sorted(expected + read)


async def test_what_is_young_is_in_progress_and_what_is_old_is_swept(shelf):
    lost = f"files/{shelf.workspace}/lost"
    await shelf.store.put(f"files/{shelf.workspace}/nobodys", b"xx")
    kept = await shelf.blob()
    parts = await shelf.store.begin(lost)
    young = Inventory(shelf.worker, shelf.store, HOUR)
    found = [one for one in await young.differences() if str(shelf.workspace) in one.name]
    folder = isinstance(shelf.store, FolderStore)  # moto says of all parts that they are from 2010
    assert [str(one) for one in found] == ([] if folder else [f"parts without an upload: {lost} {parts}"])
    assert young.in_progress >= 1 + folder
    old = Inventory(shelf.worker, shelf.store, -HOUR)
    await old.sweep([one for one in await old.differences() if str(shelf.workspace) in one.name])
    assert await shelf.differences() == []
    assert [one.key async for one in shelf.store.listed(f"files/{shelf.workspace}/")] == [kept]


async def test_the_caretaker_sweeps_uploads_whose_row_was_never_committed(shelf):
    known, lost = (f"files/{shelf.workspace}/{uuid4()}" for _ in range(2))
    parts = await shelf.store.begin(known)
    await shelf.upload(known, parts)
    await shelf.store.begin(lost)
    await Caretaker(shelf.worker, shelf.store, Grace(1, 1)).sweep(-HOUR)
    left = [(one.key, one.upload) async for one in shelf.store.unfinished(f"files/{shelf.workspace}/")]
    assert left == [(known, parts)]


@pytest.mark.parametrize("store", ["folder"], indirect=True)
async def test_drafts_of_killed_writers_are_named_until_they_are_swept(shelf, tmp_path):
    (tmp_path / ".writing").mkdir(exist_ok=True)
    draft = tmp_path / ".writing" / "0123"
    draft.write_bytes(b"half")
    stock = Inventory(shelf.worker, shelf.store, HOUR)
    assert "draft" not in str(await stock.differences())
    old = time.time() - 2 * HOUR
    os.utime(draft, (old, old))
    found = [one for one in await stock.differences() if one.kind == "draft left behind"]
    assert [str(one) for one in found] == ["draft left behind: .writing/0123"]
    await stock.sweep(found)
    assert not draft.exists()


async def test_what_differs_for_a_moment_only_does_not_count(shelf, monkeypatch):
    key = f"files/{shelf.workspace}/{uuid4()}"
    await shelf.store.put(key, DATA)
    rows = Inventory._rows

    async def removed_meanwhile(self):
        await shelf.store.delete(key)
        return await rows(self)

    monkeypatch.setattr(Inventory, "_rows", removed_meanwhile)
    assert await shelf.differences() == []


async def test_files_that_come_and_go_leave_no_difference(own, ada, workspace):
    kept = await upload(ada, workspace, b"stays\n")
    gone = await upload(ada, workspace, b"goes\n")
    await examined(ada, gone["id"])
    assert (await ada.http.delete(f"/v1/files/{gone['id']}")).status_code == 204
    begun = await begin(ada, workspace, b"aborted\n")
    await send_all(ada, begun, b"aborted\n")
    assert (await ada.http.delete(f"/v1/files/uploads/{begun['upload_id']}")).status_code == 204
    twice = await begin(ada, workspace, b"twice\n")
    await send_all(ada, twice, b"twice\n")
    await upload(ada, workspace, b"twice\n")
    assert (await complete(ada, twice)).status_code == 200
    await examined(ada, kept["id"])
    await Caretaker(own.platform.worker, own.resources.objects, Grace(0, 0)).tidy()
    stock = Inventory(own.platform.worker, own.resources.objects, -HOUR)
    assert [str(one) for one in await stock.differences(hashed=True) if str(workspace) in one.name] == []


def test_the_command_says_how_many_and_why_it_could_not(monkeypatch, capsys, own, tmp_path):
    said = []

    class Stock:
        in_progress = 2

        async def differences(self, *, hashed=False):
            if hashed:
                raise ObjectStoreUnavailableError("gone")
            return said

    class Opened:
        def __init__(self, grace):
            assert grace in (HOUR, 5)

        async def __aenter__(self):
            return Stock()

        async def __aexit__(self, *_):
            return None

    monkeypatch.setattr(fsck, "inventory", Opened)
    assert fsck.main([]) == 0
    assert capsys.readouterr().out == "2 without a row are younger than 3600 s: in progress\n0 differences\n"
    said.append("object without a row: x")
    assert fsck.main(["--grace", "5"]) == 1
    assert capsys.readouterr().out.splitlines()[0::2] == ["object without a row: x", "1 difference"]
    assert fsck.main(["--hash"]) == 2
    assert "not compared" in capsys.readouterr().err
