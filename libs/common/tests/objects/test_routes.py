"""What the local folder's URLs refuse by themselves, as S3 would, and how it answers."""

import asyncio
import hashlib
import os
import time
from pathlib import Path

import pytest

from common.objects import Served
from common.objects.links import Download, Links, ObjectWrite

from .conftest import KEYS, PREFIX, app_of, served
from .test_contract import KEY, MIB, SERVED, signed_put

BODY = b"0123456789"


def token_of(url):
    return url.rpartition("/")[2]


async def code(answer):
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status, answer.body.decode().partition('"code": "')[2].partition('"')[0]


def left(folder):
    """What an upload left: objects, parts and drafts."""
    return [path for path in folder.root.rglob("*") if path.is_file() and path.name != "key"]


async def raw(folder, url, announced, sent):
    """A PUT that announces more than it sends, then ends the connection."""
    host, port = url.removeprefix("http://").partition("/")[0].split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    path = f"{PREFIX}/{token_of(url)}"
    writer.write(f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {announced}\r\n\r\n".encode() + sent)
    await writer.drain()
    async with asyncio.timeout(10):
        while not left(folder):
            await asyncio.sleep(0.01)
        writer.close()
        while left(folder):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("body", [b"012345678", b"0123456789+", b""])
async def test_a_body_of_another_size_is_refused_and_leaves_nothing(folder, body):
    answer = await folder.send(await signed_put(folder, BODY), body)
    assert await code(answer) == (400, "body_size_mismatch")
    assert left(folder) == []


@pytest.mark.parametrize("body", [b"012345678", b"0123456789+", BODY * MIB])
async def test_a_chunked_body_of_another_size_is_refused_and_leaves_nothing(folder, body):
    async def pieces():
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    signed = await signed_put(folder, BODY)
    async with folder.http.put(signed.url, data=pieces()) as answer:
        assert answer.status == 400
        assert (await answer.json())["code"] == "body_size_mismatch"
    assert left(folder) == []


async def test_a_body_with_another_checksum_is_refused_and_leaves_nothing(folder):
    answer = await folder.send(await signed_put(folder, BODY), b"9876543210")
    assert await code(answer) == (400, "checksum_mismatch")
    assert left(folder) == []
    assert (await folder.send(await signed_put(folder, BODY), BODY)).status == 200


async def test_a_part_of_another_size_is_refused_and_leaves_nothing(folder):
    upload = await folder.store.begin(KEY)
    answer = await folder.send(await folder.store.sign_part(KEY, upload, 1, 9, 60), BODY)
    assert await code(answer) == (400, "body_size_mismatch")
    assert left(folder) == []
    assert await folder.store.parts(KEY, upload) == []


async def test_a_truncated_part_leaves_nothing_and_may_be_sent_again(folder):
    upload = await folder.store.begin(KEY)
    data = os.urandom(4 * MIB)
    signed = await folder.store.sign_part(KEY, upload, 1, len(data), 60)
    await raw(folder, signed.url, len(data), data[: 3 * MIB])
    assert await folder.store.parts(KEY, upload) == []
    assert (await folder.send(signed, data)).status == 200
    assert [part.size for part in await folder.store.parts(KEY, upload)] == [len(data)]


async def test_a_truncated_object_leaves_nothing(folder):
    data = os.urandom(4 * MIB)
    await raw(folder, (await signed_put(folder, data)).url, len(data), data[: 3 * MIB])
    assert await folder.store.find(KEY) is None


async def test_of_two_puts_at_once_one_is_stored_as_a_whole(folder):
    bodies = [os.urandom(2 * MIB) for _ in range(4)]
    answers = await asyncio.gather(*[folder.send(await signed_put(folder, body), body) for body in bodies])
    assert sorted(answer.status for answer in answers) == [200, 412, 412, 412]
    winner = [answer.status for answer in answers].index(200)
    assert await folder.store.get(KEY) == bodies[winner]
    assert len(left(folder)) == 1


async def test_an_expired_url(folder):
    base = (await signed_put(folder, BODY)).url.rpartition("/")[0]
    await folder.store.put(KEY, BODY)
    now = int(time.time())
    write, read = ObjectWrite("a/b", 1, hashlib.sha256(b"x").hexdigest()), Download(KEY, "text/plain", "inline")
    for method, permit in (("PUT", write), ("GET", read)):
        url = f"{base}/{Links(base, KEYS).token(permit, now - 1)}"
        assert await code(await folder.ask(method, url, None, b"x")) == (403, "url_expired")


async def test_a_url_for_another_method(folder):
    await folder.store.put(KEY, BODY)
    put, get = (await signed_put(folder, BODY, "a/b")).url, await folder.store.sign_get(KEY, SERVED, 60)
    assert await code(await folder.ask("PUT", get, None, BODY)) == (405, "url_method_mismatch")
    answer = await folder.ask("GET", put)
    assert await code(answer) == (405, "url_method_mismatch")
    assert answer.headers["Allow"] == "PUT"
    for method in ("DELETE", "POST"):
        assert (await folder.ask(method, get)).status == 405
    assert await folder.store.get(KEY) == BODY


async def test_a_url_for_another_object_or_by_another_key(folder):
    await folder.store.put("files/w/secret", b"secret")
    url = await folder.store.sign_get(KEY, SERVED, 60)
    base = url.rpartition("/")[0]
    forged = Links(base, (b"x" * 32,)).url(Download("files/w/secret", "text/plain", "inline"), 60)
    for other in (forged, f"{base}/secret", f"{base}/{'A' * 80}", url[:-1], url + "A"):
        assert await code(await folder.ask("GET", other)) == (403, "url_invalid")
    for path in ("files/w/secret", "files%2Fw%2Fsecret", "..%2F..%2Fsecret"):
        assert (await folder.ask("GET", f"{base}/{path}")).status in (403, 404)


async def test_a_large_body_passes_the_limit_of_the_service(folder):
    data = os.urandom(3 * MIB)
    assert (await folder.send(await signed_put(folder, data), data)).status == 200


async def test_head_is_answered_as_get_without_a_body_and_without_reading_it(folder, monkeypatch):
    await folder.store.put(KEY, BODY)
    url = await folder.store.sign_get(KEY, SERVED, 60)
    got = await folder.ask("GET", url)
    read = []
    monkeypatch.setattr("common.objects.folder.os.pread", lambda *args: read.append(args) or b"")
    head = await folder.ask("HEAD", url)
    assert (head.status, head.body) == (200, b"")
    for name in ("ETag", "Content-Type", "Content-Disposition", "Content-Security-Policy", "Accept-Ranges"):
        assert head.headers[name] == got.headers[name]
    assert head.headers["Content-Length"] == "10"
    part = await folder.ask("HEAD", url, {"Range": "bytes=2-3"})
    assert (part.status, part.headers["Content-Length"]) == (206, "2")
    await asyncio.sleep(0.1)
    assert read == []


@pytest.mark.parametrize(("validator", "status"), [("{etag}", 206), ('"other"', 200), ("W/{etag}", 200)])
async def test_a_range_only_of_the_same_object(folder, validator, status):
    await folder.store.put(KEY, BODY)
    url = await folder.store.sign_get(KEY, SERVED, 60)
    etag = (await folder.ask("HEAD", url)).headers["ETag"]
    answer = await folder.ask("GET", url, {"Range": "bytes=0-3", "If-Range": validator.format(etag=etag)})
    assert answer.status == status
    assert answer.body == (b"0123" if status == 206 else BODY)


async def test_the_etag_of_a_put_is_that_of_the_download(folder):
    answer = await folder.send(await signed_put(folder, BODY), BODY)
    download = await folder.ask("GET", await folder.store.sign_get(KEY, SERVED, 60))
    assert answer.headers["ETag"] == download.headers["ETag"]


@pytest.mark.parametrize(
    ("media_type", "boxed"), [("image/png", True), ("text/html", True), ("application/pdf", False)]
)
async def test_what_is_shown_inline_runs_nothing(folder, media_type, boxed):
    await folder.store.put(KEY, BODY)
    answer = await folder.ask("GET", await folder.store.sign_get(KEY, Served(media_type, "inline"), 60))
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert policy.endswith("; sandbox") is boxed
    assert "script" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_it_may_be_kept_until_the_url_expires(folder):
    await folder.store.put(KEY, BODY)
    answer = await folder.ask("GET", await folder.store.sign_get(KEY, SERVED, 60))
    assert 55 < int(answer.headers["Cache-Control"].removeprefix("private, max-age=")) <= 60


async def test_a_client_that_leaves_ends_the_reading(direct, monkeypatch):
    real, read = os.pread, []
    monkeypatch.setattr("common.objects.folder.os.pread", lambda *args: (read.append(args), real(*args))[1])
    await direct.store.put(KEY, bytes(64 * MIB))
    host, port = (await direct.store.sign_get(KEY, SERVED, 60)).removeprefix("http://").partition("/")[0].split(":")
    url = await direct.store.sign_get(KEY, SERVED, 60)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {PREFIX}/{token_of(url)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readexactly(MIB)
    writer.close()
    await asyncio.sleep(0.3)
    assert 0 < len(read) < 60
    opened = [path.readlink() for path in Path("/proc/self/fd").iterdir() if os.path.lexists(path)]
    assert not any(path.is_relative_to(direct.root) for path in opened)


async def test_there_are_no_such_routes_without_a_folder(http):
    async with served(app_of(object)) as base, http.get(f"{base}/x") as answer:
        assert answer.status == 404
