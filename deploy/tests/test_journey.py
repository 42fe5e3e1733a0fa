"""Journeys over a fleet of real processes, through the gateway: nothing acknowledged is ever lost, whatever breaks."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from deploy.client import Answer, Api, Person, UnreachableError, digest
from deploy.demonstration.ledger import Document, Ledger
from deploy.demonstration.tracing import save_traced
from deploy.local.servers import Servers
from deploy.tests.conftest import PASSWORD, Team, Teams
from deploy.tests.processes import Fleet

from common.telemetry import read_spans

pytestmark = pytest.mark.slow

LARGE = b"A line of a body that goes to the object store.\n" * 500
SAVES = 50


def section(number: int, text: str) -> str:
    return f"## Section {number}\n\n{text}\n\n"


def text_with(edits: dict[int, str]) -> bytes:
    """A document of 50 sections, some of them edited."""
    return "".join(section(n, edits.get(n, f"Nobody wrote section {n} yet.")) for n in range(SAVES)).encode()


async def test_no_edit_is_lost_when_five_people_save_fifty_times_on_one_stale_base(teams: Teams) -> None:
    team = await teams.of(5)
    document_id = await team.document(text_with({}))
    edits = {n: f"Person {n % 5} wrote section {n}: {secrets.token_hex(4)}." for n in range(SAVES)}

    answers = await asyncio.gather(*(team[n % 5].save(document_id, text_with({n: edits[n]}), 1) for n in range(SAVES)))

    by_version = {answer.json()["version"]: n for n, answer in enumerate(answers)}
    assert sorted(by_version) == list(range(2, SAVES + 2)), "each save is a version of its own"
    assert [answer.json()["merged"] for answer in answers].count(False) == 1
    current = await team[0].content(document_id)
    assert current.body == text_with(edits)

    versions = await team[1].pages(f"/v1/documents/{document_id}/versions", "versions")
    accepted: dict[int, str] = {}
    for version in sorted(versions, key=lambda item: item["n"])[1:]:
        n = by_version[version["n"]]
        accepted[n] = edits[n]
        assert version["author_id"] == team[n % 5].id
        assert set(version["contributors"]) == {team[m % 5].id for m in accepted}
        assert version["content_hash"] == digest(text_with(accepted)), f"v{version['n']} has all accepted edits"


class Load:
    """People who save and create without pause; notes what was acknowledged and what failed."""

    def __init__(self, team: Team) -> None:
        self._team = team
        self._stop = asyncio.Event()
        self.acknowledged: dict[tuple[str, int], str] = {}
        self.failures = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        tasks = [asyncio.create_task(self._work(person)) for person in self._team.people]
        try:
            yield self
        finally:
            self._stop.set()
            await asyncio.gather(*tasks)

    async def until(self, more: int, seconds: float = 30.0) -> None:
        """Wait until this many more writes were acknowledged."""
        goal = len(self.acknowledged) + more
        async with asyncio.timeout(seconds):
            while len(self.acknowledged) < goal:
                await asyncio.sleep(0.01)

    async def _work(self, person: Person) -> None:
        while not self._stop.is_set():
            text = f"# {person.name}\n\n".encode()
            made = await self._once(lambda text=text: person.create(self._team.workspace_id, "Load", text, expect=()))  # type: ignore[misc]
            if made is None:
                continue
            document_id, version = made["id"], 1
            self.acknowledged[document_id, 1] = digest(text)
            for number in range(10):
                text += f"Line {number}: {secrets.token_hex(8)}\n".encode() * (900 if number == 5 else 1)
                saved = await self._until_saved(person, document_id, text, version)
                if saved is None:
                    break
                version = saved["version"]
                self.acknowledged[document_id, version] = digest(text)

    async def _until_saved(self, person: Person, document_id: str, text: bytes, version: int) -> dict[str, Any] | None:
        """Save again and again as a client does that got no answer; None at the end of the load."""
        while not self._stop.is_set():
            if saved := await self._once(lambda: person.save(document_id, text, version, expect=())):
                return saved
        return None

    async def _once(self, call: Callable[[], Awaitable[Answer]]) -> dict[str, Any] | None:
        try:
            answer = await call()
        except UnreachableError:
            answer = None
        if answer is not None and answer.status in (200, 201):
            written: dict[str, Any] = answer.json()
            return written
        assert answer is None or answer.status in (502, 503, 504), answer.problem()
        self.failures += 1
        await asyncio.sleep(0.02)
        return None


async def lost(reader: Person, acknowledged: dict[tuple[str, int], str]) -> list[tuple[str, int]]:
    """Acknowledged versions whose bytes are not there any more."""
    missing = []
    for (document_id, n), expected in acknowledged.items():
        answer = await reader.call("GET", f"/v1/documents/{document_id}/versions/{n}/content", expect=())
        if answer.status != 200 or digest(answer.body) != expected:
            missing.append((document_id, n))
    return missing


async def test_killing_documents_in_mid_load_loses_nothing_and_leaves_the_other_service_alone(
    ready: Fleet, teams: Teams
) -> None:
    team = await teams.of(4)
    async with Load(team).running() as load:
        await load.until(40)
        await ready["documents"].kill()
        me = await team[0].call("GET", "/v1/users/me", expect=())
        away = await team[0].call("GET", "/v1/documents", params={"workspace_id": team.workspace_id}, expect=())
        await ready["documents"].start()
        await load.until(40)
    assert me.status == 200
    assert (away.status, away.code) == (503, "service_unavailable")
    assert float(away.headers["Retry-After"]) > 0
    assert load.failures > 0, "the kill must have hit the load"
    assert await lost(team[1], load.acknowledged) == []


async def test_documents_keeps_working_while_auth_gateway_is_dead(ready: Fleet, teams: Teams, api: Api) -> None:
    team = await teams.of(3)
    async with Load(team).running() as load:
        await load.until(30)
        await ready["auth-gateway"].kill()
        before = load.failures
        await load.until(60)
        assert load.failures == before, "no request to documents failed"
        login = await api.call("POST", "/v1/auth/login", body={"email": "x@example.org", "password": "y"}, expect=())
        assert login.status == 503, "away is not wrong credentials"
        await ready["auth-gateway"].start()
    await api.sign_in(team[0].email, PASSWORD)
    assert await lost(team[1], load.acknowledged) == []


def rows_of(environment: Mapping[str, str], workspace_id: str) -> dict[str, int]:
    """What is stored for a workspace, seen by the superuser."""
    counted = {
        "document": "SELECT count(*) FROM documents.document WHERE workspace_id = %s",
        "version": "SELECT count(*) FROM documents.version WHERE workspace_id = %s",
        "body": "SELECT count(*) FROM documents.body WHERE workspace_id = %s",
        "outbox": "SELECT count(*) FROM documents.event WHERE data ->> 'workspace_id' = %s::text",
    }
    with psycopg.connect(environment["MDC_ADMIN_DATABASE_URL"]) as connection:
        found = {name: connection.execute(statement, (workspace_id,)).fetchone() for name, statement in counted.items()}
    return {name: row[0] for name, row in found.items() if row}


def break_objects(objects: Path) -> Callable[[], None]:
    """Put a file where the object store's folder is (permissions would not stop root); the result repairs it."""
    aside = objects.with_name("objects.aside")
    objects.rename(aside)
    objects.write_text("not a folder")

    def repair() -> None:
        objects.unlink()
        aside.rename(objects)

    return repair


async def test_without_the_object_store_large_bodies_are_refused_whole_and_small_ones_work(
    ready: Fleet, teams: Teams
) -> None:
    team = await teams.of(1)
    ada = team[0]
    small = await team.document(b"small\n")
    growing = await team.document(b"x" * (16 * 1024 - 5))
    large = await team.document(LARGE)
    before = rows_of(ready.environment, team.workspace_id)
    repair = break_objects(ready.objects)
    try:
        refused = [
            await ada.create(team.workspace_id, "Large", LARGE + b"new", expect=()),
            await ada.save(small, LARGE + b"other", 1, expect=()),
            await ada.edit(growing, [{"append": "over the limit"}], 1, expect=()),
            await ada.content(large, expect=()),
        ]
        after = rows_of(ready.environment, team.workspace_id)
        still = [(await ada.content(document_id)).version for document_id in (small, growing)]
        saved = await ada.save(small, b"small and changed\n", 1)
        made = await team.document(b"small and new\n")
    finally:
        repair()
    assert [(answer.status, answer.code) for answer in refused] == [(503, "object_store_unavailable")] * 4
    assert all(float(answer.headers["Retry-After"]) > 0 for answer in refused)
    assert after == before, "a refused write leaves no row"
    assert still == [1, 1]
    assert saved.json()["version"] == 2
    assert (await ada.content(made)).body == b"small and new\n"
    assert (await ada.content(large)).body == LARGE
    assert (await ada.save(small, LARGE + b"other", 2)).json()["version"] == 3
    assert (await ada.content(small)).body == LARGE + b"other"


async def test_without_rabbitmq_ready_says_so_and_saves_work(ready: Fleet, teams: Teams, beneath: Servers) -> None:
    team = await teams.of(1)
    document_id = await team.document(b"one\n")
    beneath["rabbitmq"].kill()
    try:
        checks = await ready["documents"].until_ready(503)
        saved = await team[0].save(document_id, b"two\n", 1)
    finally:
        await asyncio.to_thread(beneath["rabbitmq"].start)
    assert {name: value for name, value in checks.items() if value != "ok"} == {
        "status": "not_ready",
        "bus": "unreachable",
    }
    assert saved.json()["version"] == 2
    await ready.until_ready()


async def test_without_redis_people_sign_in_read_and_save(
    ready: Fleet, teams: Teams, api: Api, beneath: Servers
) -> None:
    team = await teams.of(2)
    document_id = await team.document(b"one\n")
    beneath["redis"].kill()
    try:
        checks = await ready["documents"].until_ready(503)
        again = await api.sign_in(team[1].email, PASSWORD)
        saved = await again.save(document_id, b"two\n", 1)
        read = await team[0].content(document_id)
        new = await api.sign_up(f"redis-{secrets.token_hex(4)}@example.org", PASSWORD, "New")
        workspace_id = await new.make_workspace("Made without Redis")
        made = await new.create(workspace_id, "Note", b"three\n")
    finally:
        await asyncio.to_thread(beneath["redis"].start)
    assert checks["redis"] == "unreachable"
    assert (saved.status, read.body, made.status) == (200, b"two\n", 201)
    await ready.until_ready()


async def test_without_postgresql_everything_is_503_and_recovers_without_a_restart(
    ready: Fleet, teams: Teams, api: Api, beneath: Servers
) -> None:
    team = await teams.of(1)
    ada = team[0]
    document_id = await team.document(b"one\n")
    pids = [process.pid for process in ready.processes.values()]
    await asyncio.to_thread(beneath["postgres"].stop)  # not killed: the tests' server trades crash safety for speed
    try:
        checks = await ready["documents"].until_ready(503)
        login = {"email": ada.email, "password": PASSWORD}
        refused = await asyncio.gather(
            ada.content(document_id, expect=()),
            ada.save(document_id, b"two\n", 1, expect=()),
            ada.call("GET", "/v1/users/me", expect=()),
            api.call("POST", "/v1/auth/login", body=login, expect=()),
        )
    finally:
        await asyncio.to_thread(beneath["postgres"].start)
    assert checks["database"] == "unreachable"
    assert [(answer.status, answer.code) for answer in refused] == [(503, "database_unavailable")] * 4
    assert all(float(answer.headers["Retry-After"]) > 0 for answer in refused)
    await ready.until_ready()
    assert (await ada.content(document_id)).body == b"one\n"
    assert (await ada.save(document_id, b"two\n", 1)).json()["version"] == 2
    await api.sign_in(ada.email, PASSWORD)
    assert [process.pid for process in ready.processes.values()] == pids


async def test_the_trace_of_a_save_shows_service_sql_relay_and_consumer(ready: Fleet, teams: Teams) -> None:
    team = await teams.of(2)
    document = Document(await team.document(b"one\n"), "Note", 1, {1: b"one\n"})
    ledger = Ledger(team[0], team[1], team.workspace_id, [document])
    await save_traced(ledger, document, ready.spans)
    assert ledger.wrong == []
    async with asyncio.timeout(60):  # behind whatever other tests left to be consumed
        while "sync" not in {span["service"] for span in read_spans(ready.spans, ledger.trace_id)}:
            await asyncio.sleep(0.1)
    spans = read_spans(ready.spans, ledger.trace_id)
    server = next(span for span in spans if span["name"] == "PUT /v1/documents/{document_id}/content")
    statements = [span for span in spans if span["name"].startswith("SQL ")]
    relayed = next(span for span in spans if span["name"] == "publish documents.document.updated.v1")
    consumed = next(span for span in spans if span["service"] == "sync" and span["name"].startswith("process "))
    assert statements
    assert {span["parent_id"] for span in statements} == {server["span_id"]}
    assert server["attributes"]["http.response.status_code"] == 200
    assert (relayed["service"], relayed["parent_id"]) == ("documents", server["span_id"])
    assert (consumed["name"], consumed["parent_id"]) == (
        "process documents.document.updated.v1", relayed["span_id"],
    )  # fmt: skip
    assert read_spans(ready.spans, secrets.token_hex(16)) == []


async def test_no_secret_and_no_text_is_in_any_event_log_or_span(ready: Fleet, api: Api) -> None:
    """A journey with unique markers, then everything that was written about it is searched for them."""
    run = secrets.token_hex(6)
    password, text = f"violet-{run}-password-kettle", f"text-{run}-marker"
    ada = await api.sign_up(f"leak-{run}@example.org", password, "Ada")
    workspace_id = await ada.make_workspace(f"Workspace {run}")
    traced = {"traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"}
    made = (await ada.create(workspace_id, f"Title {run}", f"{text} one\n".encode())).json()
    await ada.save(made["id"], f"{text} two\n".encode(), 1, headers=traced)
    await ada.save(made["id"], f"{text} three\n".encode(), 1, expect=(412,), headers=traced)
    await ada.save(made["id"], b"\xff" + text.encode(), 2, expect=(422,), headers=traced)
    wrong = {"email": f"leak-{run}@example.org", "password": f"wrong-{run}-password"}
    await api.call("POST", "/v1/auth/login", body=wrong, expect=(401,), headers=traced)
    async with asyncio.timeout(20):
        while len(await ada.pages("/v1/sync/log", "log", workspace_id=workspace_id)) < 4:
            await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)  # spans are written with half a second's delay
    written = {str(file): file.read_text(errors="replace") for file in ready.spans.glob("*.jsonl")}
    written |= {f"log of {process}": ready[process].log() for process in ready.processes}
    written["events"] = everything_told(ready.environment)
    assert run in written["events"], "titles and names are in events: the search finds what is there"
    for marker in (text, password, wrong["password"], ada.token, ada.token.rpartition(".")[2]):
        assert [place for place, content in written.items() if marker in content] == []


def everything_told(environment: Mapping[str, str]) -> str:
    """All events, parked and logged ones too, as text."""
    with psycopg.connect(environment["MDC_ADMIN_DATABASE_URL"]) as connection:
        rows = [
            row
            for table in ("auth_gateway.event", "documents.event", "sync.sync_log_detail", "sync.item")
            for row in connection.execute(f"SELECT to_jsonb(t)::text FROM {table} t").fetchall()
        ]
    return "\n".join(row[0] for row in rows)
