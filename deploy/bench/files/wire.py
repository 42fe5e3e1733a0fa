"""A client that costs little beside what it measures: blocking, one connection, bodies by sendfile."""

import hashlib
import http.client
import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from deploy.local.machine import LOOPBACK

READ_BYTES = 1 << 20
TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class Slice:
    """Some bytes of a file."""

    path: Path
    start: int
    size: int

    def sha256(self) -> str:
        """In hexadecimal, as an upload announces it."""
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            return hashlib.sha256(memoryview(data)[self.start : self.start + self.size]).hexdigest()


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_SECONDS)
        self._buffer = memoryview(bytearray(READ_BYTES))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def post(self, url: str, body: Any, headers: Mapping[str, str]) -> Answer:
        """A call with JSON."""
        data = json.dumps(body).encode()
        return self._ask("POST", url, {**headers, "Content-Type": "application/json"}, data, (200, 201))

    def bare(self, method: str, url: str, headers: Mapping[str, str], *expected: int) -> Answer:
        """A call without a body."""
        return self._ask(
            method, url, {**headers, "Content-Length": "0"} if method == "POST" else headers, b"", expected
        )

    def upload(self, method: str, url: str, data: Slice, headers: Mapping[str, str] | None = None) -> Answer:
        """Send these bytes of a file."""
        return self._ask(method, url, headers or {}, data, (200, 201, 204))

    def download(self, url: str, size: int, headers: Mapping[str, str] | None = None) -> None:
        """Read all of it and throw it away."""
        self._begin("GET", url, headers or {}, b"")
        answer = self._connection.getresponse()
        read = 0
        while count := answer.readinto(self._buffer):
            read += count
        _require("GET", url, answer.status, (200,), b"")
        if read != size:
            raise SystemExit(f"GET {url}: {read} bytes of {size}")

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | Slice, expected: tuple[int, ...]
    ) -> Answer:
        self._begin(method, url, headers, data)
        answer = self._connection.getresponse()
        body = answer.read()
        _require(method, url, answer.status, expected, body)
        return Answer(answer.status, answer.headers, body)

    def _begin(self, method: str, url: str, headers: Mapping[str, str], data: bytes | Slice) -> None:
        parts = urlsplit(url)
        self._connection.putrequest(method, parts.path + (f"?{parts.query}" if parts.query else ""))
        for name, value in headers.items():
            self._connection.putheader(name, value)
        size = data.size if isinstance(data, Slice) else len(data)
        if size or isinstance(data, Slice):
            self._connection.putheader("Content-Length", str(size))
        self._connection.endheaders(None if isinstance(data, Slice) else data or None)
        if isinstance(data, Slice) and size:
            with data.path.open("rb") as file:
                self._connection.sock.sendfile(file, data.start, size)


def _require(method: str, url: str, status: int, expected: tuple[int, ...], body: bytes) -> None:
    if status not in expected:
        raise SystemExit(f"{method} {url[:80]} answered {status}: {body[:300]!r}")
