"""The servers beside ours: started fresh on a free port, nothing stored by any of them."""

import asyncio
import math
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import psutil

from deploy.bench.collab.client import Door
from deploy.bench.collab.edits import LongDocument
from deploy.bench.collab.wire import Framing, Hocuspocus, YWebsocket
from deploy.bench.rest import wait_for
from deploy.editors import install, node
from deploy.local.machine import free_ports

PEERS = Path(__file__).with_name("peers")
ROOT = Path(__file__).parents[3]


class Server(Protocol):
    """What scenarios need of a server."""

    name: str
    framing: Framing
    node: bool
    """Whether it is one of those the others are compared with."""
    stores: bool
    """Whether it can open a document it does not have in memory."""
    most_clients: float
    """Of a document, by its own limit."""
    most_rate: float
    """Edits of a client a second, by its own limit."""
    durable: bool
    """Whether an edit is on disk before others see it, which bounds its acknowledgement by when they do."""
    promise: str
    """What it has done with an edit before others see it."""

    async def start(self, long: LongDocument | None = None) -> None:
        """A fresh process; with a long document, which `cold` then opens."""

    async def stop(self) -> None:
        """End it."""

    async def close(self) -> None:
        """Give back everything, after the last run."""

    async def documents(self, count: int) -> list[str]:
        """New documents without a character."""

    async def cold(self) -> str:
        """A document of the long text that is not in memory."""

    async def doors(self, documents: Sequence[str]) -> list[Door]:
        """Where these documents are reached, valid for the next half minute."""

    def processes(self) -> list[psutil.Process]:
        """Its processes."""

    def databases(self) -> list[psutil.Process]:
        """Those of the database it needs."""


class Peer:
    """A server that is one process and keeps documents in memory."""

    promise = "kept in memory"
    durable = False
    most_clients = most_rate = math.inf

    def __init__(
        self,
        name: str,
        framing: Framing,
        command: Callable[[int], list[str]],
        *,
        node: bool = True,
        stores: bool = True,
    ) -> None:
        self.name = name
        self.framing = framing
        self.node = node
        self.stores = stores
        self.port = 0
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, long: LongDocument | None = None, environment: Mapping[str, str] | None = None) -> None:
        (self.port,) = free_ports(1)
        more = {"COLD": str(long.state)} if long else {}
        command = await asyncio.to_thread(self._command, self.port)
        values = {**os.environ, "PORT": str(self.port), **more, **(environment or {})}
        self._process = subprocess.Popen(command, cwd=ROOT, env=values, stdout=subprocess.DEVNULL)
        await wait_for(self.port)

    async def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def close(self) -> None:
        await self.stop()

    async def documents(self, count: int) -> list[str]:
        return [f"bench-{uuid.uuid4().hex}" for _ in range(count)]

    async def cold(self) -> str:
        return f"cold-{uuid.uuid4().hex}"

    async def doors(self, documents: Sequence[str]) -> list[Door]:
        named = self.framing.name == YWebsocket.name
        return [Door(self.port, f"/{document}" if named else "/", document) for document in documents]

    def processes(self) -> list[psutil.Process]:
        return tree(self._process.pid) if self._process else []

    def databases(self) -> list[psutil.Process]:
        return []


def peers() -> list[Peer]:
    """Those to compare with."""
    found = [
        Peer("@hocuspocus/server", Hocuspocus(), lambda port: _node("hocuspocus.mjs", port)),
        Peer("@y/websocket-server", YWebsocket(), lambda port: _node("ywebsocket.mjs", port)),
        Peer("pycrdt-websocket", YWebsocket(), _pycrdt, node=False),
    ]
    if script := os.environ.get("BENCH_COLLAB_SCRIPT"):
        found.append(Peer("script", YWebsocket(), lambda _port: [sys.executable, script], node=False, stores=False))
    return found


def _node(script: str, port: int) -> list[str]:
    folder = install(PEERS, "bench/collab")
    return [node(), str(folder / script), str(port)]


def _pycrdt(port: int) -> list[str]:
    return [sys.executable, "-m", "deploy.bench.collab.pycrdt_server", str(port)]


def tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """CPU that these processes have used, and the children they have outlived."""
    spent = 0.0
    for process in processes:
        try:
            spent += time.clock_gettime((~process.pid << 3) | 2)  # its CPU clock, as clock_getcpuclockid(3) says
            times = process.cpu_times()
            spent += times.children_user + times.children_system
        except (OSError, psutil.NoSuchProcess):
            continue
    return spent


def resident(processes: Sequence[psutil.Process]) -> int:
    """Bytes in memory."""
    return sum(process.memory_info().rss for process in processes)
