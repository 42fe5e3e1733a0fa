"""`make bench`: create, save, get, content and list through the gateway, beside a minimal endpoint in the same run.

Needs `make up`. The workspace is filled to 10,000 documents first (kept for the next run).
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import psycopg

from deploy.bench import load
from deploy.client import Api, Person, at_most, invitation_token

DOCUMENTS = 10_000
CONCURRENCY = 16
MINIMAL_PORT = 18250
CONTENT = "# Note\n\n" + "A paragraph of some forty plain words, as notes have them, with a bit of *emphasis*.\n\n" * 40
KINDS = ("create", "save", "get", "content", "list")
Prepare = Callable[[int, int], bytes]
PEOPLE = 48
"""Writers that share the load, so that it stays within every user's rate limit."""


def text(worker: int, turn: int) -> str:
    """A content no other request has."""
    return f"{CONTENT}{worker}-{turn}-{time.monotonic_ns()}\n"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Place:
    """A workspace of many documents and the people who work in it."""

    def __init__(self, workspace: str, people: list[Person], documents: list[str]) -> None:
        self.workspace = workspace
        self.documents = documents
        self._headers = [{"Authorization": f"Bearer {person.token}"} for person in people]
        self._bases: dict[str, int] = {}

    def requests(self) -> dict[str, Prepare]:
        """Every kind of request; each worker saves documents of its own, always on the newest version."""
        return {
            "create": self._create,
            "save": self._save,
            "get": self._reader("/v1/documents/{id}"),
            "content": self._reader("/v1/documents/{id}/content"),
            "list": self._reader("/v1/documents?workspace_id={workspace}"),
        }

    def _who(self, worker: int, turn: int) -> dict[str, str]:
        return self._headers[(worker + turn * CONCURRENCY) % len(self._headers)]

    def _pick(self, worker: int, turn: int) -> str:
        return self.documents[(worker + turn * CONCURRENCY) % len(self.documents)]

    def _reader(self, path: str) -> Prepare:
        return lambda worker, turn: load.request(
            "GET", path.format(id=self._pick(worker, turn), workspace=self.workspace), self._who(worker, turn)
        )

    def _create(self, worker: int, turn: int) -> bytes:
        body = {"workspace_id": self.workspace, "title": f"Bench {turn}", "content": text(worker, turn)}
        headers = {**self._who(worker, turn), "Content-Type": "application/json"}
        return load.request("POST", "/v1/documents", headers, json.dumps(body).encode())

    def _save(self, worker: int, turn: int) -> bytes:
        document = self._pick(worker, turn)
        base = self._bases[document] = self._bases.get(document, 0) + 1
        headers = {**self._who(worker, turn), "If-Match": f'"v{base}"', "Content-Type": "text/markdown"}
        return load.request("PUT", f"/v1/documents/{document}/content", headers, text(worker, turn).encode())


async def move_in(api: Api, mails: Path, count: int) -> Place:
    """Sign people up, put them into one workspace and fill it."""
    say(f"signing {PEOPLE} people up")
    run, password = uuid.uuid4().hex, uuid.uuid4().hex
    people = await at_most(
        4, [partial(api.sign_up, f"bench-{n}-{run}@example.org", password, f"Bench {n}") for n in range(PEOPLE)]
    )
    workspace = await people[0].make_workspace("Bench")
    for person in people[1:]:
        await people[0].invite(workspace, person.email)
        await person.accept_invitation(await invitation_token(mails, person.email))
    documents: list[str] = []

    async def write(number: int) -> None:
        content = text(number, 0).encode()
        answer = await people[number % PEOPLE].create(workspace, f"Bench {number}", content)
        documents.append(str(answer.json()["id"]))
        if len(documents) % 2000 == 0:
            say(f"  {len(documents)} documents")

    say(f"filling a workspace with {count} documents")
    await at_most(CONCURRENCY, [partial(write, number) for number in range(count)])
    return Place(workspace, people, documents)


def minimal(documents: list[str], workspace: str, bases: dict[str, int]) -> dict[str, Prepare]:
    """The same requests to the yardstick."""

    def pick(worker: int, turn: int) -> str:
        return documents[(worker + turn * CONCURRENCY) % len(documents)]

    def save(worker: int, turn: int) -> bytes:
        document = pick(worker, turn)
        base = bases[document] = bases.get(document, 0) + 1
        return load.request("PUT", f"/documents/{document}/content?base={base}", {}, text(worker, turn).encode())

    def create(worker: int, turn: int) -> bytes:
        body = {"workspace_id": workspace, "title": f"Bench {turn}", "content": text(worker, turn)}
        return load.request("POST", "/documents", {"Content-Type": "application/json"}, json.dumps(body).encode())

    def get(path: str) -> Prepare:
        return lambda worker, turn: load.request("GET", path.format(id=pick(worker, turn), workspace=workspace), {})

    return {
        "create": create,
        "save": save,
        "get": get("/documents/{id}"),
        "content": get("/documents/{id}/content"),
        "list": get("/documents?workspace_id={workspace}"),
    }


async def fill_minimal(dsn: str, count: int) -> tuple[list[str], str]:
    """The same number of documents in the yardstick's table."""
    workspace = str(uuid.uuid4())
    documents = [str(uuid.uuid4()) for _ in range(count)]
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("TRUNCATE bench.document, bench.version, bench.outbox")
        async with connection.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO bench.document (id, workspace_id, title, body, version) VALUES (%s, %s, 'Bench', %s, 1)",
                [(document, workspace, CONTENT) for document in documents],
            )
        await connection.execute("ANALYZE bench.document")
    return documents, workspace


def start_minimal(dsn: str) -> subprocess.Popen[bytes]:
    """The yardstick as a process of its own."""
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-m", "deploy.bench.minimal", dsn, str(MINIMAL_PORT)], cwd=root)


async def wait_for(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            (await load.Connection.open(port)).close()
            return
        await asyncio.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}: run `make up` first")


def idle_memory() -> dict[str, float]:
    """Resident MB of each service process of this fleet."""
    found = {}
    for process in psutil.process_iter(["cmdline", "memory_info"]):
        words = process.info["cmdline"] or []
        if "common.serve" in words:
            found[words[-1]] = process.info["memory_info"].rss / 1e6
    return dict(sorted(found.items()))


def machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, {platform.platform()}"


async def bench(options: argparse.Namespace) -> None:
    gateway = int(os.environ.get("GATEWAY_PORT", "8080"))
    dsn = os.environ["MDC_ADMIN_DATABASE_URL"]
    await wait_for(gateway)
    memory = idle_memory()
    yardstick = start_minimal(dsn)
    try:
        await wait_for(MINIMAL_PORT)
        async with Api(f"http://127.0.0.1:{gateway}") as api:
            place = await move_in(api, Path(os.environ["MDC_MAIL_DIR"]), options.documents)
        documents, workspace = await fill_minimal(dsn, options.documents)
        targets = {
            "minimal": (MINIMAL_PORT, minimal(documents, workspace, {})),
            "gateway": (gateway, place.requests()),
        }
        results: dict[tuple[str, str], load.Result] = {}
        for kind in KINDS:
            for port, prepare in targets.values():
                await load.run(port, CONCURRENCY, 1.0, prepare[kind])
            for _ in range(options.rounds):
                for name, (port, prepare) in targets.items():
                    result = await load.run(port, CONCURRENCY, options.seconds, prepare[kind])
                    best = results.get((kind, name))
                    if best is None or result.rate > best.rate:
                        results[kind, name] = result
            say(f"  {kind} measured")
        report(results, memory)
    finally:
        yardstick.terminate()
        yardstick.wait()


def report(results: dict[tuple[str, str], load.Result], memory: dict[str, float]) -> None:
    print(f"\n{machine()}\nconcurrency {CONCURRENCY}, best of the rounds; minimal = deploy/bench/minimal.py, direct\n")
    print("| kind | minimal req/s | gateway req/s | ratio | p50 ms | p95 ms | p99 ms | failures |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in KINDS:
        base, own = results[kind, "minimal"], results[kind, "gateway"]
        print(
            f"| {kind} | {base.rate:.0f} | {own.rate:.0f} | {own.rate / base.rate:.0%} | {own.percentile(0.5):.1f} "
            f"| {own.percentile(0.95):.1f} | {own.percentile(0.99):.1f} | {own.failures or 0} |"
        )
    print("\nresident memory, idle, MB: " + ", ".join(f"{name} {size:.0f}" for name, size in memory.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(bench(parser.parse_args()))
