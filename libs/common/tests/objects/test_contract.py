"""One contract for both stores; signed requests are really made. What moto does not enforce is in `test_s3`."""

import hashlib
import os

import pytest

from common.objects import ObjectMissingError, ObjectStoreUnavailableError, Part, PartsMismatchError, Served

KEY = "files/w/f"
SERVED = Served("text/plain; charset=utf-8", "attachment; filename=\"a.txt\"; filename*=UTF-8''%C3%A4.txt")
MIB = 1024 * 1024
FIRST = os.urandom(5 * MIB)  # S3 takes no smaller part but the last
LAST = os.urandom(70_000)


async def signed_put(place, body, key=KEY):
    return await place.store.sign_put(key, len(body), hashlib.sha256(body).digest(), 60)


async def send_part(place, upload, number, body, key=KEY):
    return await place.send(await place.store.sign_part(key, upload, number, len(body), 60), body)


async def uploaded(place):
    """An upload with two parts."""
    upload = await place.store.begin(KEY)
    for number, body in ((2, LAST), (1, FIRST)):
        assert (await send_part(place, upload, number, body)).status == 200
    return upload, await place.store.parts(KEY, upload)


async def stored(place, prefix=""):
    return sorted([one.key async for one in place.store.listed(prefix)])


async def begun(place, prefix=""):
    return [(one.key, one.upload) async for one in place.store.unfinished(prefix)]


async def chunks(place, *bounds):
    return b"".join([chunk async for chunk in place.store.read(KEY, *bounds)])


async def test_what_was_put_is_read_back_and_again(place):
    for _ in range(2):
        await place.store.put(KEY, b"data")
    assert await place.store.get(KEY) == b"data"
    found = await place.store.find(KEY)
    assert (found.key, found.size) == (KEY, 4)
    assert found.modified > 1e9


async def test_an_object_that_is_there_is_never_replaced(place):
    await place.store.put(KEY, b"first")
    await place.store.put(KEY, b"second")
    assert await place.store.get(KEY) == b"first"


async def test_delete_may_be_repeated(place):
    await place.store.put(KEY, b"data")
    for _ in range(2):
        await place.store.delete(KEY)
    assert await place.store.find(KEY) is None
    with pytest.raises(ObjectMissingError):
        await place.store.get(KEY)
    with pytest.raises(ObjectMissingError):
        await chunks(place)


async def test_a_key_above_others_is_no_object(place):
    await place.store.put("files/w/f/1", b"data")
    assert await place.store.find(KEY) is None
    with pytest.raises(ObjectMissingError):
        await place.store.get(KEY)


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../b", "a", "", "a//b", "a/.hidden", ".uploads/x", "a/b\n"])
async def test_no_call_takes_a_key_that_is_a_path_trick(place, key):
    store = place.store
    for call in (
        lambda: store.put(key, b""),
        lambda: store.get(key),
        lambda: store.delete(key),
        lambda: store.find(key),
        lambda: store.read(key).__anext__(),
        lambda: store.begin(key),
        lambda: store.parts(key, "u"),
        lambda: store.complete(key, "u", []),
        lambda: store.abort(key, "u"),
        lambda: store.sign_put(key, 0, bytes(32), 60),
        lambda: store.sign_part(key, "u", 1, 0, 60),
        lambda: store.sign_get(key, SERVED, 60),
    ):
        with pytest.raises(ValueError, match="not an object key"):
            await call()


@pytest.mark.parametrize("upload", ["../..", "..", "", "/", "x" * 32, "0" * 32])
async def test_no_upload_id_leads_elsewhere(place, upload):
    await place.store.put("other/w/f", b"data")
    if upload:  # S3's client refuses an empty one by itself
        with pytest.raises(ObjectMissingError):
            await place.store.parts(KEY, upload)
        with pytest.raises(ObjectMissingError):
            await place.store.complete(KEY, upload, [Part(1, 1, '"x"')])
        await place.store.abort(KEY, upload)
    assert await place.store.get("other/w/f") == b"data"


@pytest.mark.parametrize("bounds", [(0,), (5,), (0, 10), (7, 2 * MIB + 1), (3 * MIB - 1,), (3 * MIB,), (3 * MIB + 9,)])
async def test_reading_gives_just_these_bytes(place, bounds):
    data = os.urandom(3 * MIB)
    await place.store.put(KEY, data)
    assert await chunks(place, *bounds) == data[slice(*bounds) if len(bounds) > 1 else slice(bounds[0], None)]


async def test_reading_an_empty_object(place):
    await place.store.put(KEY, b"")
    assert await chunks(place) == b""


async def test_listing_is_by_the_beginning_of_the_key(place):
    for key in ("a/b", "a/bc/d", "a/c", "b/b"):
        await place.store.put(key, b"x")
    assert await stored(place, "a/b") == ["a/b", "a/bc/d"]
    assert await stored(place, "a/bc/") == ["a/bc/d"]
    assert await stored(place, "c/") == []
    assert await stored(place) == ["a/b", "a/bc/d", "a/c", "b/b"]


@pytest.mark.parametrize("size", [0, 1, 999, MIB, 3 * MIB + 7])
async def test_a_signed_put_stores_these_bytes(place, size):
    body = os.urandom(size)
    answer = await place.send(await signed_put(place, body), body)
    assert answer.status == 200
    assert answer.headers["ETag"].startswith('"')
    assert await place.store.get(KEY) == body


async def test_a_second_put_is_refused_and_the_first_stays(place):
    assert (await place.send(await signed_put(place, b"first"), b"first")).status == 200
    assert (await place.send(await signed_put(place, b"second"), b"second")).status == 412
    assert await place.store.get(KEY) == b"first"


async def test_an_upload_in_parts(place):
    upload, parts = await uploaded(place)
    assert [(part.number, part.size) for part in parts] == [(1, len(FIRST)), (2, len(LAST))]
    assert await stored(place) == []
    assert await begun(place, "files/") == [(KEY, upload)]
    assert await begun(place, "other/") == []
    await place.store.complete(KEY, upload, parts)
    assert await place.store.get(KEY) == FIRST + LAST
    assert await begun(place) == []


async def test_complete_and_abort_may_be_repeated(place):
    upload, parts = await uploaded(place)
    for _ in range(2):
        await place.store.complete(KEY, upload, parts)
    for _ in range(2):
        await place.store.abort(KEY, upload)
    assert await place.store.get(KEY) == FIRST + LAST


async def test_the_last_complete_version_of_a_part_counts(place):
    upload, _ = await uploaded(place)
    answer = await send_part(place, upload, 2, b"once more")
    parts = await place.store.parts(KEY, upload)
    assert parts[1] == Part(2, 9, answer.headers["ETag"])
    await place.store.complete(KEY, upload, parts)
    assert await place.store.get(KEY) == FIRST + b"once more"


async def test_parts_that_are_not_the_received_ones_are_refused_and_the_upload_goes_on(place):
    upload, (first, last) = await uploaded(place)
    other = Part(1, first.size, '"0123456789abcdef0123456789abcdef"')
    for wrong in ([other, last], [last, first], [first, Part(3, 1, last.etag)], []):
        with pytest.raises(PartsMismatchError):
            await place.store.complete(KEY, upload, wrong)
    assert await stored(place) == []
    await place.store.complete(KEY, upload, [first, last])
    assert await place.store.get(KEY) == FIRST + LAST


async def test_an_aborted_upload_takes_no_part_and_leaves_none(place):
    upload, parts = await uploaded(place)
    for _ in range(2):
        await place.store.abort(KEY, upload)
    assert (await send_part(place, upload, 1, b"late")).status == 404
    with pytest.raises(ObjectMissingError):
        await place.store.parts(KEY, upload)
    with pytest.raises(ObjectMissingError):
        await place.store.complete(KEY, upload, parts)
    assert await begun(place) == []


async def test_an_object_that_is_there_stays_when_an_upload_of_its_key_is_completed(place):
    upload, parts = await uploaded(place)
    await place.store.put(KEY, b"first")
    await place.store.complete(KEY, upload, parts)
    assert await place.store.get(KEY) == b"first"
    assert await begun(place) == []


async def test_a_part_has_a_number_from_1_to_10000(place):
    for number in (0, 10_001):
        with pytest.raises(ValueError, match="number of a part"):
            await place.store.sign_part(KEY, "0" * 32, number, 1, 60)


async def test_a_download_is_answered_as_it_was_signed(place):
    await place.store.put(KEY, b"0123456789")
    url = await place.store.sign_get(KEY, SERVED, 60)
    answer = await place.ask("GET", url)
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert answer.headers["Content-Type"] == SERVED.content_type
    assert answer.headers["Content-Disposition"] == SERVED.disposition
    assert answer.headers["Cache-Control"].startswith("private, max-age=")
    again = await place.ask("GET", url, {"If-None-Match": answer.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "status", "body", "told"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
    ],
)
async def test_a_range_of_a_download(place, asked, status, body, told):
    await place.store.put(KEY, b"0123456789")
    answer = await place.ask("GET", await place.store.sign_get(KEY, SERVED, 60), {"Range": asked})
    assert (answer.status, answer.body, answer.headers["Content-Range"]) == (status, body, told)


async def test_a_range_behind_the_end(place):
    await place.store.put(KEY, b"0123456789")
    answer = await place.ask("GET", await place.store.sign_get(KEY, SERVED, 60), {"Range": "bytes=10-"})
    assert answer.status == 416


async def test_a_download_of_what_is_not_there(place):
    answer = await place.ask("GET", await place.store.sign_get(KEY, SERVED, 60))
    assert answer.status in (403, 404)  # 403: S3, where the signer may not list the bucket; moto always


@pytest.mark.parametrize("value", ["a\r\nX: y", "", "attachment; filename=ä", "a\0"])
async def test_a_download_cannot_smuggle_headers(value):
    with pytest.raises(ValueError, match="not a header value"):
        Served("text/plain", value)


async def test_a_store_that_is_away_says_so(place):
    store = place.away()
    for call in (
        lambda: store.put(KEY, b"data"),
        lambda: store.get(KEY),
        lambda: store.delete(KEY),
        lambda: store.find(KEY),
        lambda: store.read(KEY).__anext__(),
        lambda: store.listed("files/").__anext__(),
        lambda: store.begin(KEY),
        lambda: store.parts(KEY, "0" * 32),
        lambda: store.complete(KEY, "0" * 32, [Part(1, 1, '"x"')]),
        lambda: store.abort(KEY, "0" * 32),
        lambda: store.unfinished("").__anext__(),
    ):
        with pytest.raises(ObjectStoreUnavailableError):
            await call()
