"""Files on real processes: killed in the middle, behind curl, on S3, and without what they need."""

import asyncio
import contextlib
import hashlib
import io
import os
import random
import shutil
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import psycopg
import pytest
import pytest_asyncio
from deploy.client import Answer, Api, Person, UnexpectedAnswerError
from deploy.demonstration import files
from deploy.demonstration.ledger import Ledger
from deploy.local import servers
from deploy.local.backing import Server
from deploy.local.machine import LOOPBACK, free_ports
from deploy.local.servers import Running, Servers
from deploy.local.stand_in import StandIn
from deploy.tests import processes
from deploy.tests.conftest import Teams
from deploy.tests.environment import migrated
from deploy.tests.processes import Fleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
PART = 8 * MIB
PATIENCE_SECONDS = 60
KILLS = 3
LONGEST_SECONDS = 0.4
"""About what a completion of 64 MiB takes."""


class Uploading:
    """One file on its way, as a client sees it that knows the upload's id."""

    def __init__(self, person: Person, workspace: str, data: bytes) -> None:
        self._person = person
        self._workspace = workspace
        self.data = data
        self.id = ""

    async def begin(self) -> dict[str, Any]:
        body = {
            "workspace_id": self._workspace, "filename": "big.bin", "size": len(self.data),
            "content_type": "application/octet-stream", "sha256": hashlib.sha256(self.data).hexdigest(),
        }  # fmt: skip
        begun = (await self._person.call("POST", "/v1/files/uploads", expect=(201,), body=body)).json()
        self.id = begun["upload_id"]
        return cast("dict[str, Any]", begun)

    @property
    def path(self) -> str:
        return f"/v1/files/uploads/{self.id}"

    def part(self, number: int) -> bytes:
        return self.data[(number - 1) * PART : number * PART]

    async def received(self) -> list[int]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (answer := await self._person.call("GET", self.path, expect=())).status == 503:
                await asyncio.sleep(0.1)
        return [one["part_number"] for one in answer.json()["received"]]

    async def send_missing(self) -> None:
        there = await self.received()
        missing = [number for number in range(1, -(-len(self.data) // PART) + 1) if number not in there]
        if not missing:
            return
        signed = (await self._person.call("POST", f"{self.path}/parts", body={"part_numbers": missing})).json()
        async with aiohttp.ClientSession() as session:
            for one in signed["urls"]:
                part = io.BytesIO(self.part(one["part_number"]))
                async with session.put(one["url"], data=part, headers=one["headers"]) as sent:
                    assert sent.status == 200, await sent.text()

    async def being_completed(self, seconds: float) -> "asyncio.Task[Answer]":
        """A completion that has gone on for so long, if it takes that long."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                call = self._person.call("POST", f"{self.path}/complete", expect=())
                completing = asyncio.create_task(call)
                await asyncio.wait([completing], timeout=seconds)
                if not completing.done() or completing.result().status not in (409, 503):
                    return completing
                await asyncio.sleep(0.2)

    async def complete(self) -> str:
        """Id of the file, within seconds, whoever was killed at it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                answer = await self._person.call("POST", f"{self.path}/complete", expect=())
                if answer.status == 200:
                    return str(answer.json()["id"])
                assert answer.code in ("upload_in_progress", "service_unavailable"), answer
                await asyncio.sleep(0.2)


async def read(person: Person, file_id: str) -> bytes:
    """A file's bytes, once it is given out."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (answer := await person.call("GET", f"/v1/files/{file_id}/download", expect=())).status == 409:
            await asyncio.sleep(0.1)
    assert answer.status == 302, answer
    async with aiohttp.ClientSession() as session, session.get(answer.headers["location"]) as body:
        return await body.read()


async def state_of(person: Person, file_id: str) -> dict[str, Any]:
    """The file; the gateway may take a moment to find a service that was restarted."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (answer := await person.call("GET", f"/v1/files/{file_id}", expect=())).status == 503:
            await asyncio.sleep(0.1)
    assert answer.status == 200, answer
    return cast("dict[str, Any]", answer.json())


async def fsck(fleet: Fleet, workspace: str, *options: str) -> list[str]:
    """What differs in a workspace; other fleets of this run use the same database."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "files.fsck", *options, env=dict(fleet.environment), stdout=asyncio.subprocess.PIPE
    )
    output = (await process.communicate())[0].decode()
    assert output.splitlines()[-1].partition(" ")[2].startswith("difference"), output
    return [line for line in output.splitlines() if workspace in line]


async def test_killed_while_a_part_arrives(ready: Fleet, teams: Teams) -> None:
    team = await teams.of(1)
    upload = Uploading(team[0], team.workspace_id, os.urandom(20 * MIB))
    first = (await upload.begin())["urls"][0]

    async def body() -> AsyncIterator[bytes]:
        for at in range(0, PART // 2, MIB):
            yield upload.part(1)[at : at + MIB]
        await asyncio.sleep(PATIENCE_SECONDS)

    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_SECONDS):
        headers = {**first["headers"], "Content-Length": str(first["size"])}
        sending = asyncio.create_task(session.put(first["url"], data=body(), headers=headers).__aenter__())
        while not any(draft.stat().st_size >= MIB for draft in ready.objects.glob(".writing/*")):
            await asyncio.sleep(0.01)
        await ready["files"].kill()
        sending.cancel()
        await asyncio.wait([sending])
    await ready["files"].start()
    assert await upload.received() == [], "half a part is none"
    await upload.send_missing()
    assert await read(team[0], await upload.complete()) == upload.data
    assert await fsck(ready, team.workspace_id, "--hash", "--grace", "0") == []
    assert await fsck(ready, "draft left behind", "--grace", "0", "--sweep") != [], "what the kill left is named"
    assert await fsck(ready, "draft left behind", "--grace", "0") == []


async def test_killed_while_uploads_are_completed(ready: Fleet, teams: Teams) -> None:
    team = await teams.of(1)
    chance = random.Random(7)
    upload = Uploading(team[0], team.workspace_id, os.urandom(64 * MIB))
    await upload.begin()
    await upload.send_missing()
    for _ in range(KILLS):
        completing = await upload.being_completed(chance.uniform(0, LONGEST_SECONDS))
        begun = time.monotonic()
        await ready["files"].kill()
        await asyncio.wait([completing])
        print(f"killed: {completing.exception() or completing.result().status}")
        await ready["files"].start()
    file_id = await upload.complete()
    print(f"completed {time.monotonic() - begun:.1f} s after the last kill")
    assert hashlib.sha256(await read(team[0], file_id)).digest() == hashlib.sha256(upload.data).digest()
    assert await fsck(ready, team.workspace_id, "--hash", "--grace", "0") == []
    usage = await team[0].call("GET", "/v1/files/usage", params={"workspace_id": team.workspace_id})
    assert (usage.json()["used"], usage.json()["reserved"]) == (len(upload.data), 0)


async def test_curl_uploads_goes_on_after_an_interruption_and_the_hash_is_the_same(
    ready: Fleet, teams: Teams, tmp_path: Path
) -> None:
    team = await teams.of(1)
    file, data = tmp_path / "film.bin", os.urandom(64 * MIB)
    file.write_bytes(data)
    environment = os.environ | {"API": ready.url, "TOKEN": team[0].token}

    async def run(**more: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "sh", "docs/upload.sh", str(file), team.workspace_id, cwd=ROOT, env=environment | more,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    interrupted = await run(CURL_OPTIONS="--limit-rate 20M")
    assert interrupted.stderr is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        for number in (1, 2, 3):
            assert await interrupted.stderr.readline() == f"part {number} is there\n".encode()
    os.killpg(interrupted.pid, 9)
    await interrupted.communicate()
    resumed = await run()
    said, noted = await resumed.communicate()
    assert resumed.returncode == 0, noted.decode()
    assert noted.decode().splitlines()[0] == "part 4 is there", "what had arrived is not sent again"
    assert len(noted.splitlines()) == 5
    loaded = tmp_path / "loaded"
    download = await asyncio.create_subprocess_exec(
        "curl", "-sSfL", "-o", str(loaded), "-H", f"Authorization: Bearer {team[0].token}", "--retry", "9",
        "--retry-all-errors", f"{ready.url}/v1/files/{said.decode().strip()}/download",
    )  # fmt: skip
    assert await download.wait() == 0
    assert hashlib.sha256(loaded.read_bytes()).hexdigest() == hashlib.sha256(data).hexdigest()


class Clamd:
    """A clamd that can be told what to do: `clean`, `infected`, `hangs` or `away`."""

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        self.does = "clean"

    async def serve(self) -> None:
        server = await asyncio.start_server(self._answer, LOOPBACK, self.port)
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if self.does != "away" and await reader.readuntil(b"\0") == b"zINSTREAM\0":
                while size := struct.unpack(">I", await reader.readexactly(4))[0]:
                    await reader.readexactly(size)
                if self.does == "hangs":
                    await reader.read()
                writer.write(b"stream: Eicar FOUND\0" if self.does == "infected" else b"stream: OK\0")
                await writer.drain()
        writer.close()


@pytest.fixture(scope="module")
def s3() -> Iterator[Running]:
    """What plays S3."""
    folder = Path(f"/tmp/mdc-s3-{os.getpid()}")
    described = StandIn(folder, free_ports(1)[0])
    described.prepare()
    running = Running(cast("Server", described))
    running.start()
    yield running
    running.stop()
    shutil.rmtree(folder)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clamd() -> AsyncIterator[Clamd]:
    made = Clamd()
    serving = asyncio.create_task(made.serve())
    yield made
    serving.cancel()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def on_s3(s3: Running, clamd: Clamd, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """A fleet that keeps everything in S3 and has files scanned; nobody else takes from its servers."""
    scanned = {"FILES_CLAMAV_HOST": LOOPBACK, "FILES_CLAMAV_PORT": str(clamd.port)}
    with servers.start() as backing:
        values = migrated(backing, tmp_path_factory.mktemp("on-s3"))
        values |= cast("Any", s3.server).environment() | scanned
        with processes.fleet(values, ("auth-gateway", "documents", "files")) as fleet:
            for process in fleet.processes.values():
                await process.start()
            await fleet.until_ready()
            yield fleet


async def test_the_demo_of_files_and_large_documents_on_s3(on_s3: Fleet) -> None:
    async with Api(on_s3.url) as api:
        team = await Teams(api, on_s3.mails).of(2)
        ledger = Ledger(team[0], team[1], team.workspace_id)
        await files.attach(ledger, on_s3.mails)
        assert ledger.wrong == []
        large = b"A line of a body that goes to the object store.\n" * 500
        document = await team.document(large)
        assert (await team[1].content(document)).body == large
    assert [path for path in on_s3.objects.rglob("*") if path.is_file()] == [], "nothing is in the folder"
    for workspace in {team.workspace_id}:
        assert await fsck(on_s3, workspace, "--hash") == []


async def test_the_scanner_says_no_hangs_or_is_away(on_s3: Fleet, clamd: Clamd) -> None:
    async with Api(on_s3.url) as api:
        team = await Teams(api, on_s3.mails).of(1)

        async def put(text: bytes) -> str:
            upload = Uploading(team[0], team.workspace_id, text)
            begun = await upload.begin()
            async with aiohttp.ClientSession() as session:
                one = begun["urls"][0]
                async with session.put(one["url"], data=text, headers=one["headers"]) as sent:
                    assert sent.status == 200
            return await upload.complete()

        async def until(file_id: str, state: str) -> dict[str, Any]:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (found := await state_of(team[0], file_id))["state"] != state:
                    await asyncio.sleep(0.1)
            return found

        clamd.does = "infected"
        bad = await until(await put(b"bad\n"), "rejected")
        assert bad["problem"] == "malware: Eicar"
        refused = await team[0].call("GET", f"/v1/files/{bad['id']}/download", expect=())
        assert refused.code == "file_rejected"
        clamd.does = "away"
        unscanned = await put(b"not seen yet\n")
        waiting = await team[0].call("GET", f"/v1/files/{unscanned}/download", expect=())
        assert (waiting.status, waiting.code) == (409, "file_not_ready")
        clamd.does = "hangs"
        hanging = await put(b"swallowed\n")
        assert (await state_of(team[0], hanging))["state"] == "scanning"
        clamd.does = "clean"
        await on_s3["files"].kill()
        await on_s3["files"].start()
        await on_s3.until_ready()
        owner = on_s3.environment["FILES_OWNER_DATABASE_URL"]
        async with await psycopg.AsyncConnection.connect(owner, autocommit=True) as connection:
            await connection.execute("UPDATE files.blob SET due_at = now() WHERE state = 'scanning'")
        for file_id in (unscanned, hanging):
            await until(file_id, "ready")


async def test_without_s3_nothing_breaks_and_uploads_work_when_it_is_back(on_s3: Fleet, s3: Running) -> None:
    async with Api(on_s3.url) as api:
        team = await Teams(api, on_s3.mails).of(1)
        upload, later = (Uploading(team[0], team.workspace_id, os.urandom(9 * MIB)) for _ in range(2))
        await upload.begin()
        await asyncio.to_thread(s3.kill)
        answers = await asyncio.gather(
            team[0].call("POST", f"{upload.path}/complete", expect=()),
            team[0].call("GET", upload.path, expect=()),
            team[0].create(team.workspace_id, "Large", b"x" * 20_000, expect=()),
        )
        with pytest.raises(UnexpectedAnswerError):
            await later.begin()
        usage = await team[0].call("GET", "/v1/files/usage", params={"workspace_id": team.workspace_id})
        await asyncio.to_thread(s3.start)
        assert [(one.status, one.code) for one in answers] == [(503, "object_store_unavailable")] * 3
        assert usage.json()["reserved"] == len(upload.data), "what was not begun reserves nothing"
        await later.begin()
        await later.send_missing()
        assert await read(team[0], await later.complete()) == later.data


async def test_postgresql_restarted_while_an_upload_is_completed(ready: Fleet, teams: Teams, beneath: Servers) -> None:
    team = await teams.of(1)
    upload = Uploading(team[0], team.workspace_id, os.urandom(64 * MIB))
    await upload.begin()
    await upload.send_missing()
    completing = asyncio.create_task(team[0].call("POST", f"{upload.path}/complete", expect=()))
    await asyncio.sleep(0.15)
    with psycopg.connect(ready.environment["MDC_ADMIN_DATABASE_URL"], autocommit=True) as admin:
        admin.execute("CHECKPOINT")  # test servers do not wait for the disk
    beneath["postgres"].kill()
    answer = await completing
    await asyncio.to_thread(beneath["postgres"].start)
    await ready.until_ready()
    assert answer.status in (200, 503), answer
    assert await read(team[0], await upload.complete()) == upload.data
    assert await fsck(ready, team.workspace_id, "--grace", "0") == []
