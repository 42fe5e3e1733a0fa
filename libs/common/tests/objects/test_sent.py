"""The gateway sends objects from the folder itself, and nobody can tell it from the service's own answers."""

import asyncio
import os
import re
import shutil
import tempfile
from email.utils import formatdate
from pathlib import Path

import pytest
from deploy.local import gateway
from deploy.local.layout import Layout, gateway_user

from common.objects import FolderFileStore
from common.objects.durable import Draft
from common.objects.links import Links

from .conftest import KEYS
from .test_contract import KEY, SERVED

BODY = b"0123456789"
OF_THE_CONNECTION = {"Date", "Server", "Connection", "X-Request-Id", "Cache-Control"}
"""And of the second a request was made in."""
TRACE = re.compile(rb'"trace_id": "[0-9a-f]+"')


def shown(answer):
    headers = {name.title(): value for name, value in answer.headers.items() if name.title() not in OF_THE_CONNECTION}
    return answer.status, TRACE.sub(b"", answer.body), headers


@pytest.fixture
def unread(monkeypatch):
    """What the service reads of objects."""
    real, read = os.pread, []
    monkeypatch.setattr("common.objects.folder.os.pread", lambda *args: (read.append(args), real(*args))[1])
    return read


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=2-5"}, {"Range": "bytes=-3"}, {"If-None-Match": '"x"'}])
async def test_the_service_reads_nothing(behind_gateway, unread, headers):
    await behind_gateway.store.put(KEY, BODY)
    answer = await behind_gateway.ask("GET", await behind_gateway.store.sign_get(KEY, SERVED, 60), headers)
    assert answer.status in (200, 206)
    assert unread == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Range": "bytes=2-5"},
        {"Range": "bytes=7-"},
        {"Range": "bytes=-3"},
        {"Range": "bytes=0-1,4-5"},
        {"Range": "bytes=5-2"},
        {"Range": "bytes=10-"},
        {"Range": "bytes=-0"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=2-5", "If-Range": "{etag}"},
        {"Range": "bytes=2-5", "If-Range": '"other"'},
        {"Range": "bytes=2-5", "If-Range": "Wed, 21 Oct 2099 07:28:00 GMT"},
        {"If-None-Match": "{etag}"},
        {"If-None-Match": '"other"'},
        {"If-None-Match": "*"},
        {"If-Match": "{etag}"},
        {"If-Match": '"other"'},
        {"If-None-Match": "{of_the_file}"},
        {"If-Modified-Since": "{modified}"},
        {"If-Unmodified-Since": "Wed, 21 Oct 2015 07:28:00 GMT"},
        {"Accept-Encoding": "gzip", "Origin": "http://localhost:5173"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_it_answers_as_the_service_does(behind_gateway, method, headers):
    await behind_gateway.store.put(KEY, BODY)
    url = await behind_gateway.store.sign_get(KEY, SERVED, 60)
    etag = (await behind_gateway.ask("HEAD", url)).headers["ETag"]
    stat = (behind_gateway.root / KEY).stat()
    known = {
        "etag": etag,
        "of_the_file": f'"{int(stat.st_mtime):x}-{stat.st_size:x}"',
        "modified": formatdate(stat.st_mtime, usegmt=True),
    }
    sent = {name: value.format(**known) for name, value in headers.items()}
    token = url.rpartition("/")[2]
    own = await behind_gateway.ask(method, f"{behind_gateway.service}/{token}", sent)
    assert shown(await behind_gateway.ask(method, url, sent)) == shown(own)


async def test_an_empty_object(behind_gateway):
    await behind_gateway.store.put(KEY, b"")
    answer = await behind_gateway.ask("GET", await behind_gateway.store.sign_get(KEY, SERVED, 60))
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


async def test_what_is_out_of_its_reach_the_service_sends(behind_gateway, unread):
    await behind_gateway.store.put(KEY, BODY)
    (behind_gateway.root.parent / "gateway" / "objects").unlink()
    url = await behind_gateway.store.sign_get(KEY, SERVED, 60)
    for headers, body in (({}, BODY), ({"Range": "bytes=2-5"}, BODY[2:6])):
        answer = await behind_gateway.ask("GET", url, headers)
        assert answer.body == body
    assert unread


async def test_an_object_that_was_deleted_meanwhile(behind_gateway, monkeypatch):
    await behind_gateway.store.put(KEY, BODY)
    found = await behind_gateway.store.find(KEY)
    answers = iter([found, None])

    async def find(_key):
        return next(answers)

    monkeypatch.setattr(behind_gateway.store, "find", find)
    await behind_gateway.store.delete(KEY)
    answer = await behind_gateway.ask("GET", await behind_gateway.store.sign_get(KEY, SERVED, 60))
    assert answer.status == 404
    assert b'"code": "not_found"' in answer.body


async def test_nobody_reaches_the_folder_but_by_a_url(behind_gateway):
    await behind_gateway.store.put(KEY, BODY)
    base = behind_gateway.front.partition("/v1/")[0]
    for path in (f"/_gateway/objects/{KEY}", "/_gateway/objects/files/", "/_gateway/objects/", "/objects/w/f"):
        answer = await behind_gateway.ask("GET", base + path, {"X-Sendfile-Type": "X-Accel-Redirect"})
        assert answer.status == 404
        assert BODY not in answer.body


async def test_the_workers_may_read_files_and_nothing_else(tmp_path):
    """As under `make up`: nothing is anybody else's by default, and workers are not root."""
    top = Path(tempfile.mkdtemp(prefix="mdc-sent-"))
    before = os.umask(0o077)
    try:
        layout, user = Layout(top), gateway_user()
        objects = layout.objects
        layout.make()
        gateway.share_objects(tmp_path, objects, user)
        layout.make()  # by another verb, while all runs
        store = FolderFileStore(objects, Links("http://x", KEYS))
        await store.put(KEY, BODY)
        await store.put("bodies/w/a", BODY)
        upload = await store.begin("files/w/g")
        with Draft(objects) as draft:
            draft.write([BODY])
            draft.replace(objects / ".uploads" / upload / "1")
        await store.complete("files/w/g", upload, await store.parts("files/w/g", upload))
    finally:
        os.umask(before)
    try:
        modes = {name: (objects / name).stat() for name in (KEY, "files/w/g", "files/w", "bodies", ".uploads")}
        shared = 0o640, 0o640, 0o2710
        wanted = (*shared, 0o700, 0o700) if user else (0o600, 0o600, 0o700, 0o700, 0o700)
        assert [stat.st_mode & 0o7777 for stat in modes.values()] == [*wanted]
        if user:
            assert {modes[name].st_gid for name in (KEY, "files/w/g", "files/w")} == {user.gid}
            assert (objects.stat().st_mode & 0o7777, objects.stat().st_gid) == (0o710, user.gid)
    finally:
        await asyncio.to_thread(shutil.rmtree, top)
