"""The local folder: durable, atomic, honest about being away."""

import os
import time
from pathlib import Path

import pytest

from common.objects import FolderFileStore, FolderStore, ObjectMissingError, ObjectStoreUnavailableError
from common.objects.links import Links

KEY = "bodies/w/abc"


@pytest.fixture
def store(tmp_path):
    (tmp_path / "objects").mkdir()
    return FolderStore(tmp_path / "objects")


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_store_that_is_away_says_so_and_leaves_nothing(tmp_path, store):
    (tmp_path / "objects").rmdir()
    with pytest.raises(ObjectStoreUnavailableError):
        await store.put(KEY, b"data")
    (tmp_path / "objects").write_text("a file where the folder should be")
    with pytest.raises(ObjectStoreUnavailableError):
        await store.put(KEY, b"data")
    with pytest.raises(ObjectStoreUnavailableError):
        await store.get(KEY)
    assert [path.name for path in tmp_path.iterdir()] == ["objects"]


async def test_a_failed_write_leaves_no_half_object(tmp_path, store, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("common.objects.durable.os.fsync", full)
    with pytest.raises(ObjectStoreUnavailableError):
        await store.put(KEY, b"data")
    assert files(tmp_path / "objects") == []


async def test_file_and_folders_are_on_the_disk_before_a_put_returns(tmp_path, store, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        "common.objects.durable.os.fsync",
        lambda descriptor: (synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink())), real(descriptor)),
    )
    await store.put(KEY, b"data")
    root = str(tmp_path / "objects")
    assert [path for path in synced if "/.writing/" not in path] == [root, f"{root}/bodies", f"{root}/bodies/w"]
    assert sum("/.writing/" in path for path in synced) == 1
    assert f"{root}/.writing/" in synced[-2]


async def test_what_killed_writers_left_is_never_shown_and_swept_when_it_is_old(tmp_path, store):
    await store.put(KEY, b"data")
    writing = tmp_path / "objects" / ".writing"
    for name in ("old", "new"):
        (writing / name).write_bytes(b"half")
    (writing / "folder").mkdir()
    (writing / "folder" / "1").write_bytes(b"part")
    past = time.time() - 100
    for name in ("old", "folder"):
        os.utime(writing / name, (past, past))
    assert [one.key async for one in store.listed("")] == [KEY]
    await store.sweep(50)
    assert [path.name for path in writing.iterdir()] == ["new"]
    assert await store.get(KEY) == b"data"


async def test_an_object_cannot_pass_for_the_manifest_of_an_upload(tmp_path, store):
    await store.put("files/w/key", KEY.encode())
    files = FolderFileStore(tmp_path / "objects", Links("", (b"k",)))
    await files.begin(KEY)
    with pytest.raises(ObjectMissingError):
        await files.parts(KEY, "../files/w")
    await files.abort(KEY, "../files/w")
    assert await store.get("files/w/key") == KEY.encode()
