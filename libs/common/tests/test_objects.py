"""The local folder as an object store: durable, atomic, honest about being away."""

import pytest

from common.objects import FolderStore, ObjectMissingError, ObjectStoreUnavailableError

KEY = "bodies/w/abc"


@pytest.fixture
def store(tmp_path):
    (tmp_path / "objects").mkdir()
    return FolderStore(tmp_path / "objects")


async def test_what_was_put_is_read_back_and_again(store):
    for _ in range(2):
        await store.put(KEY, b"data")
    assert await store.get(KEY) == b"data"


async def test_delete_may_be_repeated(store):
    await store.put(KEY, b"data")
    await store.delete(KEY)
    await store.delete(KEY)
    with pytest.raises(ObjectMissingError):
        await store.get(KEY)


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../b", "a", "", "a//b", "a/.hidden", "A/b", "a/b\n"])
async def test_keys_cannot_leave_the_folder(store, key):
    with pytest.raises(ValueError, match="not an object key"):
        await store.put(key, b"")


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

    monkeypatch.setattr("common.objects.os.fsync", full)
    with pytest.raises(ObjectStoreUnavailableError):
        await store.put(KEY, b"data")
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []
