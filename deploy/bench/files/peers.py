"""nginx and @tus/server beside ours: each on a free port of its own, keeping what it gets in a folder."""

import asyncio
import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from deploy.bench.files.wire import Connection, Slice
from deploy.bench.rest import wait_for
from deploy.editors import install, node
from deploy.local.machine import LOOPBACK, find_program, free_ports

SOURCES = Path(__file__).with_name("peers")
TUS = {"Tus-Resumable": "1.0.0"}
NGINX = """
{user}
worker_processes 2;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    client_max_body_size 0;
    client_body_temp_path tmp;
    server {{
        listen {host}:{port};
        root kept;
        dav_methods PUT DELETE;
    }}
}}
"""


class Peer(Protocol):
    """What is compared with ours."""

    name: str

    def running(self) -> AbstractContextManager[None]:
        """A fresh process as long as the block."""

    def upload(self, connection: Connection, name: str, data: Slice) -> Path:
        """Hand a file in; where it lies then."""

    def url(self, name: str, kept: Path) -> str:
        """Where it is downloaded."""

    @property
    def port(self) -> int:
        """Where it listens."""


class Nginx:
    """Static files and the DAV module's PUT, as Debian has them, with settings that cost least."""

    name = "nginx"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / self.name
        for name in ("kept", "tmp"):
            (self._folder / name).mkdir(parents=True)
        (self.port,) = free_ports(1)

    @contextmanager
    def running(self) -> Iterator[None]:
        user = "user root;" if os.geteuid() == 0 else ""
        (self._folder / "nginx.conf").write_text(NGINX.format(user=user, host=LOOPBACK, port=self.port))
        nginx = find_program("nginx", "nginx-light")
        argv = [nginx, "-e", "stderr", "-p", str(self._folder), "-c", "nginx.conf", "-g", "daemon off;"]
        with _running(argv, self.port):
            yield

    def upload(self, connection: Connection, name: str, data: Slice) -> Path:
        connection.upload("PUT", f"/{name}", data)
        return self._folder / "kept" / name

    def url(self, name: str, kept: Path) -> str:
        assert kept.name == name
        return f"/{name}"


class Tus:
    """Creation, then one PATCH with everything: its fastest way."""

    name = "@tus/server"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "tus"
        self._folder.mkdir()
        (self.port,) = free_ports(1)

    @contextmanager
    def running(self) -> Iterator[None]:
        script = install(SOURCES, "bench/files") / "tus.mjs"
        with _running([node(), str(script), str(self.port), str(self._folder)], self.port):
            yield

    def upload(self, connection: Connection, name: str, data: Slice) -> Path:
        made = connection.bare("POST", "/files", {**TUS, "Upload-Length": str(data.size)}, 201)
        place = made.headers["Location"]
        if data.size:
            sent = {**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
            connection.upload("PATCH", place, data, sent)
        return self._folder / place.rpartition("/")[2]

    def url(self, name: str, kept: Path) -> str:
        return f"/files/{kept.name}"


def promise(path: Path) -> str:
    """What ours has done with an upload before it answers: all of it on the disk, its SHA-256 known."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        os.fsync(file.fileno())
    descriptor = os.open(path.parent, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return digest.hexdigest()


def forget(path: Path) -> None:
    """Remove what a peer kept."""
    path.unlink()
    path.with_name(f"{path.name}.json").unlink(missing_ok=True)


def peers(folder: Path) -> list[Peer]:
    """Those there are."""
    return [Nginx(folder), Tus(folder)]


@contextmanager
def _running(argv: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        asyncio.run(wait_for(port))
        yield
    finally:
        process.terminate()
        process.wait()
