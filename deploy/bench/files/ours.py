"""Ours: a private, durable fleet; every call through its gateway, as an app would make it."""

import asyncio
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from deploy.bench.collab.ours import LIFTED
from deploy.bench.collab.servers import tree
from deploy.bench.files.wire import Connection, Slice
from deploy.bench.rest import say
from deploy.client import Api, Person
from deploy.local.servers import start
from deploy.tests import processes
from deploy.tests.environment import migrated

SERVICES = ("auth-gateway", "documents", "files")
PARTS_AT_ONCE = 4
READY_SECONDS = 120.0
ROOM = {"FILES_QUOTA_BYTES": str(1 << 40), "AUTH_GATEWAY_ACCESS_TOKEN_SECONDS": "3600"}
"""So that neither the quota nor the token ends before the bench does."""


class Ours:
    """One person's files in one workspace."""

    name = "ours"

    def __init__(self, fleet: processes.Fleet, person: Person, workspace: str) -> None:
        self._fleet = fleet
        self._person = person
        self._workspace = workspace
        self._pool = ThreadPoolExecutor(PARTS_AT_ONCE)

    @property
    def port(self) -> int:
        return urlsplit(self._fleet.url).port or 80

    @property
    def service_port(self) -> int:
        """The service's own, without the gateway."""
        return urlsplit(self._fleet["files"].url).port or 80

    def processes(self) -> list[psutil.Process]:
        """The service and what it has started."""
        return tree(self._fleet["files"].pid)

    def upload(self, connection: Connection, data: Slice, sha256: str) -> str:
        """Begin, send, complete; the file's id. Parts go over several connections, the parts of one after another."""
        body = {
            "workspace_id": self._workspace, "filename": "bench.bin", "size": data.size, "sha256": sha256,
            "content_type": "application/octet-stream",
        }  # fmt: skip
        begun = connection.post("/v1/files/uploads", body, self._bearer()).json()
        urls = begun["urls"]
        path = f"/v1/files/uploads/{begun['upload_id']}"
        if missing := list(range(len(urls) + 1, begun["parts"] + 1)):
            urls += connection.post(f"{path}/parts", {"part_numbers": missing}, self._bearer()).json()["urls"]
        starts = [data.start + (url["part_number"] - 1) * begun["part_size"] for url in urls]
        pieces = [Slice(data.path, place, url["size"]) for url, place in zip(urls, starts, strict=True)]
        if len(urls) == 1:
            connection.upload("PUT", urls[0]["url"], pieces[0])
        else:
            jobs = list(zip(urls, pieces, strict=True))
            lines = [jobs[n::PARTS_AT_ONCE] for n in range(PARTS_AT_ONCE)]
            list(self._pool.map(self._send, lines))
        return str(connection.post(f"{path}/complete", {}, self._bearer()).json()["id"])

    def url(self, connection: Connection, file: str) -> str:
        """Ask for a download: the URL of the bytes."""
        return connection.bare("GET", f"/v1/files/{file}/download", self._bearer(), 302).headers["Location"]

    def settle(self, connection: Connection, files: Sequence[str]) -> None:
        """Until all were examined, so that this is not measured with what comes next."""
        deadline = time.monotonic() + READY_SECONDS
        for file in files:
            while connection.bare("GET", f"/v1/files/{file}", self._bearer(), 200).json()["state"] != "ready":
                if time.monotonic() > deadline:
                    raise SystemExit(f"file {file} is not ready after {READY_SECONDS:.0f} s")
                time.sleep(0.05)

    def delete(self, connection: Connection, files: Sequence[str]) -> None:
        """Delete; the bytes go when the service cleans up, so they are taken from its folder at once."""
        for file in files:
            connection.bare("DELETE", f"/v1/files/{file}", self._bearer(), 204)
        for path in (self._fleet.objects / "files").rglob("*"):
            if path.is_file():
                path.unlink(missing_ok=True)

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._person.token}"}

    def _send(self, jobs: Sequence[tuple[Any, Slice]]) -> None:
        with Connection(self.port) as connection:
            for signed, piece in jobs:
                connection.upload("PUT", signed["url"], piece)


@asynccontextmanager
async def running() -> AsyncIterator[Ours]:
    """The fleet, started and ready."""
    say("starting a private fleet")
    with tempfile.TemporaryDirectory(prefix="mdc-bench-") as folder, start(durable=True) as backing:
        environment = migrated(backing, Path(folder)) | LIFTED | ROOM
        with processes.fleet(environment, SERVICES) as fleet:
            for process in fleet.processes.values():
                await process.start()
            await fleet.until_ready()
            async with Api(fleet.url) as api:
                person = await api.sign_up(f"b-{uuid.uuid4().hex}@example.org", uuid.uuid4().hex, "Bench")
                workspace = await person.make_workspace("Bench")
                await asyncio.sleep(1.0)
                yield Ours(fleet, person, workspace)
