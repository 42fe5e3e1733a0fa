"""What is measured of one server: first byte and chunks of paced streams, requests a second, memory of open streams."""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import orjson

from deploy.bench import load
from deploy.bench.ai.servers import Server
from deploy.bench.collab.servers import cpu_seconds, resident

CLOCK = re.compile(rb"@(\d{19});")
END = b"\r\n0\r\n\r\n"
WORDS = 50
"""Tokens of an answer, each of which is a chunk of a stream."""
PACED = f"dev-clock-{WORDS}"
PLAIN = f"dev-words-{WORDS}"
HELD = "dev-stall"
SECONDS = 30.0
SETTLE_SECONDS = 1.0
AT_ONCE = 50
"""Streams that are opened at the same time."""

Numbers = dict[str, float]


class WrongAnswerError(ConnectionError):
    """What came is not what the provider said."""


@dataclass
class Paced:
    """Seconds of paced streams."""

    first: list[float] = field(default_factory=list)
    """From the request to the first byte of the body."""
    chunks: list[float] = field(default_factory=list)
    """From the provider's clock in a chunk to its arrival."""


async def check(server: Server) -> None:
    """Raises `WrongAnswerError` unless all words come, whole and streamed."""
    with closing(await load.Connection.open(server.port)) as connection:
        whole = await connection.exchange(server.request(PLAIN, streamed=False))
        streamed = await connection.exchange(server.request(PLAIN, streamed=True))
    if whole[0] != 200 or streamed[0] != 200:
        raise WrongAnswerError(f"{whole[0]} {whole[2][:200]!r}, {streamed[0]} {streamed[2][:200]!r}")
    text = orjson.loads(whole[2])["choices"][0]["message"]["content"]
    events = [orjson.loads(line[6:]) for line in streamed[2].splitlines() if line.startswith(b"data: {")]
    pieces = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
    if "".join(pieces) != text or len(text.split()) != WORDS:
        raise WrongAnswerError(f"{text[:80]!r} is not {''.join(pieces)[:80]!r}")


async def paced(server: Server, streams: int, at_once: int) -> Numbers:
    """First byte and chunks, of streams that come as a model's do; milliseconds."""
    found = Paced()
    processes = server.processes()
    before = cpu_seconds(processes)
    starts = iter([n / at_once for n in range(at_once)] + [0.0] * streams)
    await _each(streams, at_once, lambda: _follow(server, found, next(starts)))
    spent = cpu_seconds(processes) - before
    if len(found.chunks) != streams * WORDS:
        raise WrongAnswerError(f"{len(found.chunks)} of {streams * WORDS} chunks came")
    return {
        "first p50": _percentile(found.first, 50), "first p95": _percentile(found.first, 95),
        "chunk p50": _percentile(found.chunks, 50), "chunk p95": _percentile(found.chunks, 95),
        "CPU/stream": spent * 1000 / streams,
    }  # fmt: skip


async def _follow(server: Server, found: Paced, after: float) -> None:
    """One stream; the first ones begin one after the other, as people do."""
    await asyncio.sleep(after)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=load.LIMIT)
    with closing(writer):
        async with asyncio.timeout(SECONDS):
            await _note(reader, writer, server.request(PACED, streamed=True), found)


async def _note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, found: Paced) -> None:
    begun = time.perf_counter()
    writer.write(request)
    _require_good(await reader.readuntil(b"\r\n\r\n"))
    rest, first = b"", True
    while data := await reader.read(65536):
        now = time.monotonic_ns()
        if first:
            found.first.append(time.perf_counter() - begun)
            first = False
        rest += data
        found.chunks += [(now - int(match[1])) / 1e9 for match in CLOCK.finditer(rest)]
        if rest.endswith(END):
            break
        rest = rest[max(rest.rfind(b";"), 0) :][-64:]


def _require_good(head: bytes) -> None:
    """Raises `WrongAnswerError` with another status."""
    if b" 200 " not in head[:16]:
        raise WrongAnswerError(head.splitlines()[0].decode())


async def throughput(server: Server, at_once: int, seconds: float, *, streamed: bool) -> Numbers:
    """Requests a second with so many in flight, and what each of them costs; the answer comes as fast as it can."""
    connections = await asyncio.gather(*(_Line.open(server.port) for _ in range(at_once)))
    processes, databases = server.processes(), server.databases()
    before, before_there = cpu_seconds(processes), cpu_seconds(databases)
    done: list[float] = []
    begun = time.perf_counter()
    until = begun + seconds

    async def work(connection: "_Line") -> None:
        while (now := time.perf_counter()) < until:
            await connection.ask(server.request(PLAIN, streamed=streamed), streamed=streamed)
            done.append(time.perf_counter() - now)

    try:
        async with asyncio.timeout(seconds + SECONDS):
            await asyncio.gather(*(work(connection) for connection in connections))
    finally:
        for connection in connections:
            connection.close()
    took = time.perf_counter() - begun
    return {
        "requests/s": len(done) / took,
        "p50 ms": _percentile(done, 50),
        "CPU ms": (cpu_seconds(processes) - before) * 1000 / len(done),
        "PostgreSQL ms": (cpu_seconds(databases) - before_there) * 1000 / len(done),
    }


class _Line:
    """A connection that is used again and again."""

    def __init__(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._port = port
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "_Line":
        return cls(port, *await asyncio.open_connection("127.0.0.1", port, limit=load.LIMIT))

    async def ask(self, request: bytes, *, streamed: bool) -> None:
        """Send and read to the end. Raises `WrongAnswerError`."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        _require_good(head)
        if (at := head.find(b"content-length:")) >= 0:
            body = await self._reader.readexactly(int(head[at + 15 : head.index(b"\r\n", at)]))
        else:
            body = await self._reader.readuntil(END)
        if streamed and b"[DONE]" not in body[-200:]:
            raise WrongAnswerError("the stream has no end")
        if b"connection: close" in head:
            self.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=load.LIMIT)

    def close(self) -> None:
        self._writer.close()


async def memory(server: Server, streams: int) -> Numbers:
    """Memory of streams that have begun and go on."""
    await throughput(server, 1, SETTLE_SECONDS, streamed=True)
    before = resident(server.processes())
    writers: list[asyncio.StreamWriter] = []
    try:
        await _each(streams, AT_ONCE, lambda: _hold(server, writers))
        await asyncio.sleep(SETTLE_SECONDS)
        after = resident(server.processes())
    finally:
        for writer in writers:
            writer.close()
        await asyncio.sleep(SETTLE_SECONDS)
    return {"idle MB": before / 1e6, "open MB": after / 1e6, "KB/stream": (after - before) / 1e3 / streams}


async def _hold(server: Server, writers: list[asyncio.StreamWriter]) -> None:
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writers.append(writer)
        writer.write(server.request(HELD, streamed=True))
        _require_good(await reader.readuntil(b"\r\n\r\n"))
        await reader.readuntil(b"content")


async def _each(count: int, at_once: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    gate = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with gate:
            await work()

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())


def _percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000 if ordered else float("nan")
