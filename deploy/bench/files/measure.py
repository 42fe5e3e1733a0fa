"""What is measured: every size up and down, what memory one large file takes, many small uploads."""

import itertools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path

import psutil

from deploy.bench.collab.servers import resident
from deploy.bench.files.ours import Ours
from deploy.bench.files.peers import Peer, forget, promise
from deploy.bench.files.wire import Connection, Slice
from deploy.bench.rest import say

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SAMPLE_SECONDS = 0.01
SMALL_AT_ONCE = 4
STAMP_BYTES = 16
PROMISED = " + fsync + SHA-256"
"""Beside a peer's name: with ours' promise."""


@dataclass(frozen=True)
class Sizes:
    """How many files of each size go up and down in a round; `small` and `largest` for the other rows."""

    transfers: dict[int, int] = field(
        default_factory=lambda: {KIB: 200, 64 * KIB: 200, MIB: 50, 16 * MIB: 8, 256 * MIB: 1, GIB: 1}
    )
    small: int = 1000
    small_bytes: int = 10 * KIB
    largest: int = GIB


@dataclass
class Numbers:
    """Seconds of a file by what was done, server and size, one for each round; latencies; bytes of growth."""

    seconds: dict[tuple[str, str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    small: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    growth: dict[str, int] = field(default_factory=dict)


class Source:
    """Random bytes, of which every slice is made another one before it is used: nothing is known already."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        with path.open("wb") as file:
            for _ in range(0, size, MIB):
                file.write(os.urandom(MIB))

    def slices(self, size: int, count: int) -> list[Slice]:
        starts = [number * size % (self._size - size + 1) for number in range(count)]
        with self._path.open("r+b") as file:
            for start in starts:
                os.pwrite(file.fileno(), os.urandom(STAMP_BYTES), start)
        return [Slice(self._path, start, size) for start in starts]


class Bench:
    """Ours and its peers, one after another."""

    def __init__(self, ours: Ours, peers: Sequence[Peer], folder: Path, sizes: Sizes) -> None:
        self._ours = ours
        self._peers = peers
        self._sizes = sizes
        self._names = map(str, itertools.count())
        self.numbers = Numbers()
        say("writing random bytes")
        self._source = Source(folder / "source", max(sizes.largest, *sizes.transfers))

    def run(self, rounds: int) -> None:
        """Everything; memory first, when the service has not grown yet."""
        self._touch_memory()
        self._memory()
        for turn in range(rounds):
            for size, count in self._sizes.transfers.items():
                say(f"round {turn + 1} of {rounds}: {count} x {size:,} bytes")
                for peer in self._peers:
                    self._transfers_of(peer, size, count)
                self._transfers(size, count)
        self._small()

    def _touch_memory(self) -> None:
        """A virtual machine gets memory when it is first used, which must not be the first server's loss."""
        room = min(4 * self._sizes.largest, psutil.virtual_memory().available // 2)
        held = bytearray(room)
        for place in range(0, room, 4 * KIB):
            held[place] = 1

    def _transfers_of(self, peer: Peer, size: int, count: int) -> None:
        with peer.running(), Connection(peer.port) as connection:
            slices = self._source.slices(size, count)
            names = [next(self._names) for _ in slices]
            kept = []
            with self._timed("up", peer.name, size, count):
                for name, data in zip(names, slices, strict=True):
                    kept.append(peer.upload(connection, name, data))
            with self._timed("promise", peer.name, size, count):
                digests = [promise(path) for path in kept]
            if digests != [data.sha256() for data in slices]:
                raise SystemExit(f"{peer.name} kept other bytes")
            with suppress(OSError, HTTPException), self._timed("down", peer.name, size, count):  # @tus/server may crash
                for name, path in zip(names, kept, strict=True):
                    connection.download(peer.url(name, path), size)
            for path in kept:
                forget(path)

    def _transfers(self, size: int, count: int) -> None:
        ours, name = self._ours, self._ours.name
        with Connection(ours.port) as connection, Connection(ours.service_port) as direct:
            slices = [(data, data.sha256()) for data in self._source.slices(size, count)]
            with self._timed("up", name, size, count):
                files = [ours.upload(connection, data, digest) for data, digest in slices]
            ours.settle(connection, files)
            with self._timed("check", name, size, count):
                urls = [ours.url(connection, file) for file in files]
            with self._timed("down", name, size, count):
                for url in urls:
                    connection.download(url, size)
            with self._timed("down", "service", size, count):
                for url in urls:
                    direct.download(url, size)
            ours.delete(connection, files)

    @contextmanager
    def _timed(self, what: str, name: str, size: int, count: int) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.numbers.seconds[what, name, size].append((time.perf_counter() - begun) / count)

    def _memory(self) -> None:
        """By how much the service grows over what it holds after a small file."""
        size = self._sizes.largest
        say(f"memory while {size:,} bytes pass")
        with Connection(self._ours.port) as connection, Connection(self._ours.service_port) as direct:
            small = self._fresh(MIB)
            self._ours.settle(connection, [self._ours.upload(connection, *small)])
            large, files = self._fresh(size), []
            with self._growth("upload"):
                files.append(self._ours.upload(connection, *large))
                self._ours.settle(connection, files)
            url = self._ours.url(connection, files[0])
            with self._growth("download"):
                connection.download(url, size)
            with self._growth("download, sent by the service itself"):
                direct.download(url, size)
            self._ours.delete(connection, files)

    def _fresh(self, size: int) -> tuple[Slice, str]:
        (data,) = self._source.slices(size, 1)
        return data, data.sha256()

    @contextmanager
    def _growth(self, what: str) -> Iterator[None]:
        before, most, ended = resident(self._ours.processes()), [0], threading.Event()

        def watch() -> None:
            while not ended.wait(SAMPLE_SECONDS):
                most[0] = max(most[0], resident(self._ours.processes()))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield
        finally:
            ended.set()
            watching.join()
        self.numbers.growth[what] = max(0, most[0] - before)

    def _small(self) -> None:
        size, count = self._sizes.small_bytes, self._sizes.small
        say(f"{count:,} uploads of {size:,} bytes, {SMALL_AT_ONCE} at a time")
        for peer in self._peers:
            with peer.running():
                self._many(peer.port, self._source.slices(size, count), partial(self._small_of, peer))
        slices = self._source.slices(size, count)
        digests = {data: data.sha256() for data in slices}
        self._many(self._ours.port, slices, lambda line, data: self._small_ours(line, data, digests[data]))

    def _small_of(self, peer: Peer, connection: Connection, data: Slice) -> None:
        begun = time.perf_counter()
        path = peer.upload(connection, next(self._names), data)
        self._note(peer.name, begun)
        promise(path)
        self._note(f"{peer.name}{PROMISED}", begun)
        forget(path)

    def _small_ours(self, connection: Connection, data: Slice, sha256: str) -> None:
        begun = time.perf_counter()
        self._ours.upload(connection, data, sha256)
        self._note(self._ours.name, begun)

    def _note(self, name: str, begun: float) -> None:
        self.numbers.small[name].append(time.perf_counter() - begun)

    def _many(self, port: int, slices: Sequence[Slice], upload: Callable[[Connection, Slice], None]) -> None:
        def work(some: Sequence[Slice]) -> None:
            with Connection(port) as connection:
                for data in some:
                    upload(connection, data)

        with ThreadPoolExecutor(SMALL_AT_ONCE) as pool:
            list(pool.map(work, [slices[n::SMALL_AT_ONCE] for n in range(SMALL_AT_ONCE)]))
