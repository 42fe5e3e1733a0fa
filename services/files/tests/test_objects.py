"""The signed URLs of the local store are served at their place."""

import asyncio
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from common.edge import Edge
from common.objects import FolderFileStore, Served
from common.objects.links import Links
from files.routes import objects


@pytest.fixture
def app():
    app = FastAPI()
    app.include_router(objects.router)
    app.add_middleware(Edge, body_limit=10, trusted_hops=0, unlimited=(f"{objects.PREFIX}/",))
    return app


@pytest.fixture
async def client(app):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_an_upload_and_its_download(tmp_path, app, client):
    store = FolderFileStore(tmp_path, Links(f"http://test{objects.PREFIX}", (b"k" * 32,)))
    app.state.resources = SimpleNamespace(objects=store)
    upload = await store.begin("files/w/f")
    signed = [await store.sign_part("files/w/f", upload, number, 20, 60) for number in (1, 2)]
    answers = await asyncio.gather(*(client.put(one.url, content=b"x" * 20) for one in signed))
    assert [answer.status_code for answer in answers] == [200, 200]
    await store.complete("files/w/f", upload, await store.parts("files/w/f", upload))
    answer = await client.get(await store.sign_get("files/w/f", Served("text/plain", "inline"), 60))
    assert (answer.status_code, answer.content) == (200, b"x" * 40)


async def test_no_such_routes_beside_s3(app, client):
    app.state.resources = SimpleNamespace(objects=object())
    assert (await client.get(f"{objects.PREFIX}/x")).json()["code"] == "not_found"
