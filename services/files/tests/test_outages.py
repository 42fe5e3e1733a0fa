"""Without the object store or documents: a clear answer, nothing half done, and all goes on when they are back."""

import asyncio
import contextlib
import errno
import os

import pytest
from desk import begin, complete, download, examined, fetch, location, send, send_all, sha256, upload
from PIL import Image

from common.client import Breaker
from common.objects.durable import Draft
from files.service import examination

MIB = 1024 * 1024
BIG = os.urandom(9 * MIB)


def problem(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert status != 503 or int(answer.headers["Retry-After"]) > 0
    return answer


@pytest.fixture
def away(own):
    """Takes the folder away as a lost mount would, for the length of a block."""
    root = own.resources.objects.path("files/x").parent.parent

    @contextlib.contextmanager
    def gone():
        root.rename(root.with_name("elsewhere"))
        try:
            yield
        finally:
            root.with_name("elsewhere").rename(root)

    return gone


@pytest.fixture
def full(monkeypatch):
    """A disk on which nothing can be written any more."""

    @contextlib.contextmanager
    def disk():
        def refuse(*_args):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            for name in ("write", "append"):
                patch.setattr(Draft, name, refuse)
            yield

    return disk


@pytest.fixture(params=["away", "full"])
def broken(request):
    """Each way in which nothing can be written."""
    return request.getfixturevalue(request.param)


def announced(workspace, data=BIG):
    return {
        "workspace_id": workspace, "filename": "big.bin", "size": len(data), "sha256": sha256(data),
        "content_type": "application/octet-stream",
    }  # fmt: skip


async def reserved(person, workspace):
    return (await person.http.get("/v1/files/usage", params={"workspace_id": workspace})).json()["reserved"]


async def test_what_cannot_be_begun_reserves_nothing(ada, workspace, broken):
    with broken():
        answer = await ada.http.post("/v1/files/uploads", json=announced(workspace))
    problem(answer, 503, "object_store_unavailable")
    assert await reserved(ada, workspace) == 0


async def test_an_upload_stays_open_and_goes_on_where_it_was(ada, workspace, broken):
    begun = await begin(ada, workspace, BIG, content_type="application/octet-stream", filename="big.bin")
    first, second = begun["urls"]
    assert (await send(ada, first, BIG[: 8 * MIB])).status_code == 200
    with broken():
        problem(await send(ada, second, BIG[8 * MIB :]), 503, "object_store_unavailable")
    assert (await send(ada, second, BIG[8 * MIB :])).status_code == 200
    with broken():
        problem(await complete(ada, begun), 503, "object_store_unavailable")
    assert await reserved(ada, workspace) == len(BIG)
    answer = await complete(ada, begun)
    assert answer.status_code == 200, answer.text
    await examined(ada, answer.json()["id"])
    assert await download(ada, answer.json()["id"]) == BIG


async def test_a_download_is_refused_and_works_when_the_store_is_back(ada, workspace, away):
    file = await examined(ada, (await upload(ada, workspace, b"here\n"))["id"])
    with away():
        url = await location(ada, f"/v1/files/{file['id']}/download")
        problem(await fetch(ada, url), 503, "object_store_unavailable")
    assert await download(ada, file["id"]) == b"here\n"


async def test_what_cannot_be_examined_is_examined_later(own, ada, workspace, broken, monkeypatch, tmp_path):
    monkeypatch.setattr(examination, "AGAIN_SECONDS", 0.2)
    picture = tmp_path / "a.png"
    Image.effect_noise((64, 64), 50).save(picture)
    tried = asyncio.Event()
    put_off = own.resources.examiner._put_off

    async def noted(row):
        await put_off(row)
        tried.set()

    monkeypatch.setattr(own.resources.examiner, "_put_off", noted)
    begun = await begin(ada, workspace, picture.read_bytes(), content_type="image/png", filename="a.png")
    await send_all(ada, begun, picture.read_bytes())
    examine = own.resources.examiner._examine

    async def without(row):
        with broken():
            await examine(row)

    with monkeypatch.context() as patch:
        patch.setattr(own.resources.examiner, "_examine", without)
        assert (await complete(ada, begun)).status_code == 200
        async with asyncio.timeout(10):
            await tried.wait()
    file = await examined(ada, begun["file_id"])
    assert (file["state"], file["width"]) == ("ready", 64)


async def test_without_documents_known_places_work_and_others_are_answered_503(
    own, people, ada, workspace, monkeypatch
):
    known, unknown = [await people.document(ada, workspace) for _ in range(2)]
    await upload(ada, workspace, b"known\n", document_id=known["id"])
    body = announced(workspace, b"another\n")
    client = own.platform.client
    urls = {**client._urls, "documents": "http://127.0.0.1:9"}
    with monkeypatch.context() as patch:
        patch.setattr(client, "_urls", urls)
        patch.setitem(client._breakers, "documents", Breaker())
        refused = await ada.http.post("/v1/files/uploads", json={**body, "document_id": unknown["id"]})
        problem(refused, 503, "peer_unavailable")
        there = await upload(ada, workspace, b"still\n", document_id=known["id"])
        loose = await upload(ada, workspace, b"loose\n")
        assert {(await examined(ada, file["id"]))["state"] for file in (there, loose)} == {"ready"}
    made = await ada.http.post("/v1/files/uploads", json={**body, "document_id": unknown["id"]})
    assert made.status_code == 201, made.text
