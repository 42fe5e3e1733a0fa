"""A load generator that costs little: keep-alive connections, requests prepared as bytes, latencies kept."""

import asyncio
import resource
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import uvloop

LIMIT = 16 * 1024 * 1024


@dataclass
class Result:
    """What one run of one kind of request did."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: dict[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Latency in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else float("nan")


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """One HTTP/1.1 request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def with_many_sockets(work: Coroutine[Any, Any, None]) -> None:
    """Run a benchmark with as many open files as this machine allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


class Connection:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=LIMIT))

    async def exchange(self, data: bytes) -> tuple[int, bytes, bytes]:
        """Status, head, body."""
        self._writer.write(data)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        lower = head.lower()
        at = lower.find(b"content-length:")
        if at >= 0:
            body = await self._reader.readexactly(int(lower[at + 15 : lower.index(b"\r\n", at)]))
        else:
            body = await self._chunks() if b"chunked" in lower else b""
        return status, head, body

    async def _chunks(self) -> bytes:
        parts = []
        while size := int(await self._reader.readline(), 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return b"".join(parts)

    def close(self) -> None:
        self._writer.close()


async def run(
    port: int, concurrency: int, seconds: float, prepare: Callable[[int, int], bytes], rate: float | None = None
) -> Result:
    """Keep `concurrency` connections busy, or send `rate` requests a second; `prepare(worker, turn)` makes each."""
    connections = await asyncio.gather(*(Connection.open(port) for _ in range(concurrency)))
    result = Result()
    started = time.perf_counter()
    until = started + seconds

    async def work(worker: int, connection: Connection) -> None:
        turn = 0
        while time.perf_counter() < until:
            data = prepare(worker, turn)
            if rate:
                await asyncio.sleep(started + (turn * concurrency + worker) / rate - time.perf_counter())
            begun = time.perf_counter()
            status, _, _ = await connection.exchange(data)
            if status < 300:
                result.latencies.append(time.perf_counter() - begun)
            else:
                result.failures[status] = result.failures.get(status, 0) + 1
            turn += 1

    await asyncio.gather(*(work(worker, connection) for worker, connection in enumerate(connections)))
    result.seconds = time.perf_counter() - started
    for connection in connections:
        connection.close()
    return result
