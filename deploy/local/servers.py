"""Starts private backing servers directly, for tests: throwaway data, free ports, gone when the caller is gone.

with start(which={"postgres", "redis"}) as servers:
    connect(servers.postgres_url)
    servers["redis"].kill()  # and .start() again: same port, same data
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.backing import Postgres, Rabbit, Redis, Server
from deploy.local.machine import account, can_traverse, free_ports

GUARD = Path(__file__).with_name("guard.py")
ALL = frozenset({"postgres", "redis", "rabbitmq"})
START_SECONDS = 60


class ServerFailedError(Exception):
    """A backing server ended or was not ready in time; the message carries the end of its log."""


class Running:
    """One backing server that can be stopped, killed and started again on the same port with the same data."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.url = server.url
        self.pid = 0
        self._log = server.folder / "server.log"
        self._guard: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers; a server that was killed may need a moment until its children are gone."""
        self.stop()
        deadline = time.monotonic() + START_SECONDS
        while not self._attempt(deadline):
            self.stop()
            if time.monotonic() > deadline:
                name = type(self.server).__name__
                raise ServerFailedError(f"{name} did not start within {START_SECONDS} s:\n{self.log_tail()}")
            time.sleep(0.5)

    def stop(self) -> None:
        """End it in order and keep its data; nothing to do if it has ended."""
        self._end(b"keep\n")

    def kill(self) -> None:
        """End it as a crash does."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def remove(self) -> None:
        """End it and delete its data."""
        self._end(b"")
        shutil.rmtree(self.server.folder, ignore_errors=True)

    def log(self) -> str:
        """Everything it wrote."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def log_tail(self) -> str:
        return "\n".join(self.log().splitlines()[-30:])

    def _attempt(self, deadline: float) -> bool:
        programs = [program.as_json() | {"log": str(self._log)} for program in self.server.programs()]
        order = {"programs": programs, "folder": str(self.server.folder)}
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        self._guard.stdin.write(json.dumps(order).encode() + b"\n")
        self._guard.stdin.flush()
        self.pid = int(self._guard.stdout.readline().split()[-1])
        self._guard.stdout.close()
        while not self.server.is_ready():
            if self._guard.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _end(self, last_word: bytes) -> None:
        if self._guard is None:
            return
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.write(last_word)
            self._guard.stdin.close()
        self._guard.wait()
        self._guard = None


class Servers:
    """The servers one `start` call made."""

    def __init__(self, folder: Path, running: dict[str, Running], *, remove: bool) -> None:
        self.folder = folder
        self._running = running
        self._remove = remove

    def __getitem__(self, name: str) -> Running:
        return self._running[name]

    @property
    def postgres_url(self) -> str:
        """The superuser's URL."""
        return self._running["postgres"].url

    @property
    def redis_url(self) -> str:
        return self._running["redis"].url

    @property
    def amqp_url(self) -> str:
        return self._running["rabbitmq"].url

    def stop(self) -> None:
        """End all of them; data in a folder that `start` made itself go too."""
        end = Running.remove if self._remove else Running.stop
        with ThreadPoolExecutor() as pool:
            list(pool.map(end, self._running.values()))
        if self._remove:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(folder: Path | None = None, which: Iterable[str] = ALL, *, durable: bool = False) -> Servers:
    """Start these servers side by side and return once all answer.

    Without a folder a temporary one is used, and removed however the caller ends. A given folder must be reachable by
    the servers' own users when called as root (pytest's tmp_path is not).
    """
    place = folder or Path(tempfile.mkdtemp(prefix="mdc-test-"))
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o711)
    users = [user for user in (account("postgres"), account("rabbitmq")) if user]
    closed = [user.name for user in users if not can_traverse(place, user)]
    if closed:
        raise PermissionError(f"{place} cannot be reached by {', '.join(closed)}: choose a folder open to other users")
    running = {name: Running(server) for name, server in describe(place, which, durable=durable).items()}
    servers = Servers(place, running, remove=folder is None)
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(_bring_up, running.values()))
    except BaseException:
        servers.stop()
        raise
    return servers


def describe(folder: Path, which: Iterable[str] = ALL, *, durable: bool = False) -> dict[str, Server]:
    """Servers below this folder on free ports with new passwords; nothing is started or written."""
    ports = free_ports(5)
    servers: dict[str, Server] = {
        "postgres": Postgres(folder / "postgres", ports[0], secrets.token_hex(16), durable=durable),
        "redis": Redis(folder / "redis", ports[1], secrets.token_hex(16), durable=durable),
        "rabbitmq": Rabbit(folder / "rabbitmq", ports[2], ports[3], ports[4], secrets.token_hex(16)),
    }
    return {name: servers[name] for name in which}


def _bring_up(running: Running) -> None:
    running.server.prepare()
    running.start()
