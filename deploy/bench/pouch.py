"""PouchDB and pouchdb-server beside ours: installed from npm into a folder of the state, started, measured, ended."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from deploy.bench.rest import say, wait_for
from deploy.local.machine import LOOPBACK, find_program, free_ports

PACKAGES = (
    "pouchdb-server", "pouchdb-core", "pouchdb-adapter-memory", "pouchdb-adapter-http", "pouchdb-replication",
)  # fmt: skip
SCRIPT = Path(__file__).with_suffix(".mjs")


async def measure(documents: int, size: int, streams: int) -> dict[str, Any]:
    """Its numbers, as pouch.mjs names them: rates by the second, milliseconds, MB."""
    folder = await asyncio.to_thread(_installed)
    async with _server(folder) as (port, pid):
        url = f"http://{LOOPBACK}:{port}"
        arguments = [str(one) for one in (SCRIPT, url, pid, documents, size, streams)]
        process = await asyncio.create_subprocess_exec(
            find_program("node", "nodejs"), *arguments, cwd=folder, stdout=subprocess.PIPE
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise SystemExit(f"{SCRIPT.name} ended with {process.returncode}")
        numbers: dict[str, Any] = json.loads(output)
        return numbers


def _installed() -> Path:
    folder = Path(os.environ.get("MDC_STATE_DIR", ".state")).resolve() / "bench" / "pouch"
    if not all((folder / "node_modules" / name).is_dir() for name in PACKAGES):
        say(f"installing {PACKAGES[0]} from npm")
        folder.mkdir(parents=True, exist_ok=True)
        command = [find_program("npm", "npm"), "install", "--silent", "--no-audit", "--no-fund", *PACKAGES]
        subprocess.run(command, cwd=folder, check=True)
    return folder


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[tuple[int, int]]:
    """A server that keeps everything in memory: its port and process."""
    (port,) = free_ports(1)
    program = folder / "node_modules" / ".bin" / "pouchdb-server"
    node = find_program("node", "nodejs")
    process = await asyncio.create_subprocess_exec(
        *(node, str(program), "--in-memory", "--no-stdout-logs", "--host", LOOPBACK, "--port", str(port)),
        cwd=folder, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await wait_for(port)
        yield port, process.pid
    finally:
        process.terminate()
        await process.wait()
