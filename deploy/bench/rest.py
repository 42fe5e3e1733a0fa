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
from pathlib import Path

import psutil
import psycopg

from deploy.bench import load

DOCUMENTS = 10_000
CONCURRENCY = 16
MINIMAL_PORT = 18250
CONTENT = "# Note\n\n" + "A paragraph of some forty plain words, as notes have them, with a bit of *emphasis*.\n\n" * 40
KINDS = ("create", "save", "get", "content", "list")
Prepare = Callable[[int, int], bytes]


class Account:
    """A signed-in person with a workspace of many documents."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.token = ""
        self.workspace = ""
        self.documents: list[str] = []

    def headers(self, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **more}

    async def call(self, method: str, path: str, body: object = None) -> dict[str, object]:
        connection = await load.Connection.open(self.port)
        data = json.dumps(body).encode() if body is not None else b""
        status, _, answer = await connection.exchange(load.request(method, path, self.headers(), data))
        connection.close()
        if status >= 400:
            raise SystemExit(f"{method} {path} answered {status}: {answer[:300]!r}")
        parsed: dict[str, object] = json.loads(answer)
        return parsed

    async def sign_in(self) -> None:
        email, password = f"bench-{uuid.uuid4().hex}@example.org", f"tall-{uuid.uuid4().hex}"
        await self.call("POST", "/v1/auth/register", {"email": email, "password": password, "display_name": "Bench"})
        answer = await self.call("POST", "/v1/auth/login", {"email": email, "password": password})
        self.token = str(answer["access_token"])
        self.workspace = str((await self.call("POST", "/v1/workspaces", {"name": "Bench"}))["id"])

    def create(self, worker: int, turn: int) -> bytes:
        document = {"workspace_id": self.workspace, "title": f"Bench {worker}-{turn}", "content": text(worker, turn)}
        return load.request("POST", "/v1/documents", self.headers(), json.dumps(document).encode())

    async def fill(self, count: int) -> None:
        """Make documents until there are `count`, showing progress."""
        connections = [await load.Connection.open(self.port) for _ in range(CONCURRENCY)]

        async def work(worker: int) -> None:
            for turn in range(count // CONCURRENCY):
                status, _, body = await connections[worker].exchange(self.create(worker, turn))
                while status == 429:
                    await asyncio.sleep(1)
                    status, _, body = await connections[worker].exchange(self.create(worker, turn))
                self.documents.append(json.loads(body)["id"]) if status == 201 else print(status, body, file=sys.stderr)
                if len(self.documents) % 1000 == 0:
                    print(f"  {len(self.documents)} documents", file=sys.stderr, flush=True)

        await asyncio.gather(*map(work, range(CONCURRENCY)))


def text(worker: int, turn: int) -> str:
    """A content no other request has."""
    return f"{CONTENT}{worker}-{turn}-{time.monotonic_ns()}\n"


def ours(accounts: list[Account], bases: dict[str, int]) -> dict[str, Prepare]:
    """Requests of our API; each worker saves documents of its own, always on the newest version."""
    main = accounts[0]

    def who(worker: int) -> Account:
        return accounts[worker % len(accounts)]

    def pick(worker: int, turn: int) -> str:
        return main.documents[(worker + turn * CONCURRENCY) % len(main.documents)]

    def save(worker: int, turn: int) -> bytes:
        document = pick(worker, turn)
        base = bases[document] = bases.get(document, 0) + 1
        headers = who(worker).headers(**{"If-Match": f'"v{base}"', "Content-Type": "text/markdown"})
        return load.request("PUT", f"/v1/documents/{document}/content", headers, text(worker, turn).encode())

    def get(path: str) -> Prepare:
        return lambda worker, turn: load.request(
            "GET", path.format(id=pick(worker, turn), workspace=main.workspace), who(worker).headers()
        )

    def create(worker: int, turn: int) -> bytes:
        document = {"workspace_id": main.workspace, "title": f"Bench {turn}", "content": text(worker, turn)}
        return load.request("POST", "/v1/documents", who(worker).headers(), json.dumps(document).encode())

    return {
        "create": create,
        "save": save,
        "get": get("/v1/documents/{id}"),
        "content": get("/v1/documents/{id}/content"),
        "list": get("/v1/documents?workspace_id={workspace}"),
    }


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
        main = Account(gateway)
        await main.sign_in()
        print(f"filling a workspace with {options.documents} documents", file=sys.stderr)
        await main.fill(options.documents)
        documents, workspace = await fill_minimal(dsn, len(main.documents))
        targets = {
            "minimal": (MINIMAL_PORT, minimal(documents, workspace, {})),
            "gateway": (gateway, ours([main], {})),
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
            print(f"  {kind} done", file=sys.stderr, flush=True)
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
