"""A process that is killed at any moment: nothing half is ever shown, and the next one goes on."""

import asyncio
import hashlib
import io
import os
import pathlib
import shutil
import signal
import sys

import pytest

from common.objects import FolderFileStore, ObjectMissingError
from common.objects.links import Links, ObjectWrite, PartWrite

from .conftest import KEYS, PREFIX

KEY = "files/w/f"
STEPS = [
    (os, "fsync"),
    (os, "link"),
    (os, "sendfile"),
    (pathlib.Path, "mkdir"),
    (pathlib.Path, "replace"),
    (pathlib.Path, "unlink"),
    (shutil, "rmtree"),
]


class KilledError(BaseException):
    """The process is no more: nothing after it happens, cleaning up neither."""


@pytest.fixture
def dying(monkeypatch):
    """Lets the step with this number be the last one that begins; returns how many were counted."""
    with monkeypatch.context() as patch:
        taken = 0
        last = 0

        def guarded(real):
            def step(*args, **kwargs):
                nonlocal taken
                taken += 1
                if last and taken >= last:
                    raise KilledError
                return real(*args, **kwargs)

            return step

        for owner, name in STEPS:
            patch.setattr(owner, name, guarded(getattr(owner, name)))

        def die_at(number):
            nonlocal taken, last
            before, taken, last = taken, 0, number
            return before

        yield die_at


async def body(data):
    yield data


@pytest.fixture
def store(tmp_path):
    (tmp_path / "objects").mkdir()
    return FolderFileStore(tmp_path / "objects", Links("", KEYS))


def reborn(store):
    return FolderFileStore(store._root, Links("", KEYS))


async def received(store):
    upload = await store.begin(KEY)
    for number, data in ((1, b"first"), (2, b"second")):
        await store.receive(PartWrite(KEY, upload, number, len(data)), body(data))
    return upload


async def shown(store):
    uploads = [(one.key, one.upload) async for one in store.unfinished("")]
    return [one async for one in store.listed("")], uploads


async def each_step(dying, attempt):
    """Kill `attempt(number)` at its first step, its second … until it lives."""
    for number in range(1, 100):
        dying(number)
        try:
            await attempt(number)
        except KilledError:
            continue
        assert number > 3, "nothing was cut"
        return
    pytest.fail("it never ended")


async def test_killed_in_complete_then_completed(store, dying):
    async def attempt(number):
        dying(0)
        store_now = FolderFileStore(store._root / str(number), Links("", KEYS))
        store_now._root.mkdir()
        upload = await received(store_now)
        parts = await store_now.parts(KEY, upload)
        dying(number)
        try:
            await store_now.complete(KEY, upload, parts)
            alive = True
        except KilledError:
            alive = False
        dying(0)
        after = reborn(store_now)
        objects, uploads = await shown(after)
        assert [one.size for one in objects] in ([], [11])
        assert objects or uploads == [(KEY, upload)]
        await after.complete(KEY, upload, parts)
        assert await after.get(KEY) == b"firstsecond"
        assert (await shown(after))[1] == []
        await after.sweep(-1)
        assert list((after._root / ".writing").iterdir()) == []
        if not alive:
            raise KilledError

    await each_step(dying, attempt)


async def test_killed_in_a_part_then_sent_again(store, dying):
    upload = await received(store)
    before = await store.parts(KEY, upload)

    async def attempt(number):
        permit = PartWrite(KEY, upload, 2, 3)
        try:
            await store.receive(permit, body(b"new"))
        except KilledError:
            dying(0)
            parts = await store.parts(KEY, upload)
            assert parts[0] == before[0]
            assert parts[1].size in (6, 3)
            raise
        dying(0)
        assert [part.size for part in await store.parts(KEY, upload)] == [5, 3]

    await each_step(dying, attempt)


async def test_killed_in_a_put_then_sent_again(store, dying):
    data = b"data"

    async def attempt(number):
        key = f"files/w/{number}"
        permit = ObjectWrite(key, len(data), hashlib.sha256(data).hexdigest())
        try:
            await store.receive(permit, body(data))
        except KilledError:
            dying(0)
            found = await store.find(key)
            assert found is None or await store.get(key) == data
            if found is None:
                await store.receive(permit, body(data))
            raise
        dying(0)

    await each_step(dying, attempt)
    assert all([one.size == len(data) async for one in store.listed("")])


async def test_killed_in_begin(store, dying):
    async def attempt(number):
        try:
            upload = await store.begin(KEY)
        except KilledError:
            dying(0)
            for left in [one async for one in store.unfinished("")]:
                assert await store.parts(left.key, left.upload) == []
            raise
        dying(0)
        assert await store.parts(KEY, upload) == []

    await each_step(dying, attempt)


async def test_killed_in_abort_then_aborted(store, dying):
    upload = await received(store)

    async def attempt(number):
        try:
            await store.abort(KEY, upload)
        except KilledError:
            dying(0)
            with_parts = [one async for one in store.unfinished("")]
            if with_parts:
                assert len(await store.parts(KEY, upload)) == 2
            raise

    with pytest.raises(KilledError):
        await attempt(dying(1))
    for number in (2, 3):
        dying(number)
        with pytest.raises(KilledError):
            await attempt(number)
    dying(0)
    await store.abort(KEY, upload)
    with pytest.raises(ObjectMissingError):
        await store.parts(KEY, upload)


SERVER = """
import asyncio, sys
from pathlib import Path
from tests_objects_conftest import KEYS, app_of, served
from common.objects import FolderFileStore
from common.objects.links import Links

async def main():
    store = FolderFileStore(Path(sys.argv[1]), Links("", KEYS))
    async with served(app_of(lambda: store)) as base:
        print(base, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def start(root, tmp_path):
    """The routes in a process of their own, and their base URL."""
    environment = dict(os.environ) | {"PYTHONPATH": str(tmp_path)}
    (tmp_path / "tests_objects_conftest.py").write_text((pathlib.Path(__file__).parent / "conftest.py").read_text())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(root), env=environment, stdout=asyncio.subprocess.PIPE
    )
    return process, (await process.stdout.readline()).decode().strip()


async def test_kill_9_in_mid_part_leaves_no_part_and_the_upload_resumes(store, tmp_path, http):
    upload = await received(store)
    await store.abort(KEY, upload)
    upload = await store.begin(KEY)
    size = 8 * 1024 * 1024
    data = os.urandom(size)
    token = Links("", KEYS).url(PartWrite(KEY, upload, 1, size), 60)
    process, base = await start(store._root, tmp_path)
    host, port = base.removeprefix("http://").partition("/")[0].split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"PUT {PREFIX}{token} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + data[: size // 2]
    )
    await writer.drain()
    async with asyncio.timeout(10):
        while not any(path.stat().st_size for path in (store._root / ".writing").iterdir()):
            await asyncio.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    writer.close()
    assert await store.parts(KEY, upload) == []

    process, base = await start(store._root, tmp_path)
    async with http.put(base + token, data=io.BytesIO(data)) as answer:
        assert answer.status == 200
    process.kill()
    await process.wait()
    await store.complete(KEY, upload, await store.parts(KEY, upload))
    assert await store.get(KEY) == data
    await store.sweep(-1)
    assert list((store._root / ".writing").iterdir()) == []
