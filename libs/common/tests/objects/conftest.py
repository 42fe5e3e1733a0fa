"""Both stores, each with a server that takes what it signs."""

import asyncio
import contextlib
import io
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import boto3
import pytest
from botocore.exceptions import ClientError
from deploy.local import gateway
from deploy.local import routes as table
from deploy.local.machine import find_program, free_ports
from deploy.local.routes import SERVICES
from fastapi import FastAPI
from moto.s3.exceptions import NoSuchUpload
from moto.s3.models import S3Backend
from moto.server import ThreadedMotoServer

from common.edge import Edge
from common.identifiers import uuid7
from common.objects import FileStore, FolderFileStore, Signed
from common.objects.links import Links
from common.objects.routes import routes
from common.objects.s3 import S3Place, S3Store
from common.serve import listener

PREFIX = "/v1/files/objects"
SMALL_LIMIT = 1000
KEYS = (b"k" * 32,)
REGION = "eu-central-1"


@dataclass
class Answer:
    """What came back from a signed request."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Place:
    """A store, a client of what it signs, and a way to take it away."""

    store: FileStore
    http: aiohttp.ClientSession
    away: Callable[[], FileStore]
    root: Path = field(default=Path())
    service: str = ""
    """Base of the URLs at the service itself."""
    front: str = ""
    """Base of the URLs as clients know them."""

    async def send(self, signed: Signed, body: bytes = b"", method: str | None = None) -> Answer:
        return await self.ask(method or signed.method, signed.url, signed.headers, body)

    async def ask(self, method: str, url: str, headers=None, body: bytes | None = None) -> Answer:
        data = None if body is None else io.BytesIO(body)
        async with self.http.request(method, url, headers=headers, data=data) as answer:
            return Answer(answer.status, answer.headers, await answer.read())


def app_of(store: Callable[[], FileStore]) -> FastAPI:
    app = FastAPI()
    app.include_router(routes(PREFIX, lambda _request: store()))
    app.add_middleware(Edge, body_limit=SMALL_LIMIT, trusted_hops=0, unlimited=(f"{PREFIX}/",))
    return app


@contextlib.asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Base URL of an app on a free port."""
    server = listener(app, "127.0.0.1", 0, "off")
    running = asyncio.create_task(server.serve())
    await server.listening.wait()
    host, port = server.servers[0].sockets[0].getsockname()
    yield f"http://{host}:{port}{PREFIX}"
    server.should_exit = True
    await running


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


@contextlib.asynccontextmanager
async def fronted(base: str, folder: Path, objects: Path) -> AsyncIterator[str]:
    """Base URL of the same app behind the gateway, which sends objects itself."""
    port = free_ports(1)[0]
    for name in ("logs", "tmp"):
        (folder / name).mkdir(parents=True)
    described = gateway.Gateway(
        listen=f"127.0.0.1:{port}",
        upstreams=dict.fromkeys(SERVICES, base.removeprefix("http://").partition("/")[0]),
        user="root" if os.geteuid() == 0 else None,
        workers=1,
        sends_objects=True,
    )
    gateway.share_objects(folder, objects, None)
    (folder / "nginx.conf").write_text(gateway.render(described, table.load()))
    nginx = find_program("nginx", "nginx-light")
    process = subprocess.Popen([nginx, "-e", "stderr", "-p", folder, "-c", "nginx.conf", "-g", "daemon off;"])
    for _ in range(200):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        await asyncio.sleep(0.02)
    yield f"http://127.0.0.1:{port}{PREFIX}"
    process.terminate()
    await asyncio.to_thread(process.wait)


@contextlib.asynccontextmanager
async def folder_place(
    tmp_path: Path, http: aiohttp.ClientSession, front: Callable[..., contextlib.AbstractAsyncContextManager[str]]
) -> AsyncIterator[Place]:
    root = tmp_path / "objects"
    root.mkdir()
    made: list[FolderFileStore] = []
    async with served(app_of(lambda: made[0])) as base, front(base, tmp_path / "gateway", root) as url:
        made.append(FolderFileStore(root, Links(url, KEYS)))

        def away():
            root.rename(tmp_path / "elsewhere")
            return made[0]

        yield Place(made[0], http, away, root, base, url)


@pytest.fixture
async def direct(tmp_path, http):
    async with folder_place(tmp_path, http, lambda base, *_: contextlib.nullcontext(base)) as place:
        yield place


@pytest.fixture
async def behind_gateway(tmp_path, http):
    async with folder_place(tmp_path, http, fronted) as place:
        yield place


@pytest.fixture(params=["direct", "behind_gateway"])
def folder(request):
    """A folder, by both ways to it."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def moto():
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(variable, "testing")
        for name in ("complete_multipart_upload", "upload_part"):
            patch.setattr(S3Backend, name, knowing(getattr(S3Backend, name)))
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        yield "http://{}:{}".format(*server.get_host_and_port())
        server.stop()


def knowing(call):
    """As S3: an upload that is not known is `NoSuchUpload`, where moto answers with an internal error."""

    def known(self, bucket, upload, *args, **kwargs):
        if upload not in self.get_bucket(bucket).multiparts:
            raise NoSuchUpload(upload)
        return call(self, bucket, upload, *args, **kwargs)

    return known


@pytest.fixture
async def s3(moto, http, monkeypatch):
    place = S3Place(f"test-{uuid7().hex[-12:]}", REGION, moto, "arn:aws:kms:eu-central-1:123456789012:key/k")
    await asyncio.to_thread(make_bucket, place)
    gone = replace(place, endpoint_url="http://127.0.0.1:9")
    async with S3Store.opened(place) as store:
        monkeypatch.setattr("common.objects.s3.ATTEMPTS", 1)
        async with S3Store.opened(gone) as lost:
            yield Place(store, http, lambda: lost)


def client(place: S3Place):
    return boto3.client("s3", region_name=place.region, endpoint_url=place.endpoint_url)


def make_bucket(place: S3Place) -> None:
    settings = {"Bucket": place.bucket, "CreateBucketConfiguration": {"LocationConstraint": place.region}}
    with contextlib.suppress(ClientError):  # a fresh moto may answer its first request with an internal error
        client(place).create_bucket(**settings)
        return
    client(place).create_bucket(**settings)


@pytest.fixture(params=["direct", "behind_gateway", "s3"])
def place(request):
    """One of each kind."""
    return request.getfixturevalue(request.param)
