"""PostgreSQL, Redis and RabbitMQ as private loopback servers: configuration, command line, readiness.

Each class describes one server: `make up` runs its programs under supervisor, `servers.start` directly for the tests.
"""

import hashlib
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.local.machine import (
    LOOPBACK,
    SYSTEM_PATH,
    Account,
    CommandFailedError,
    account,
    find_program,
    own_file,
    own_folder,
    postgres_folder,
)


@dataclass(frozen=True)
class Program:
    """A process to start: complete environment, the user it runs as (None: ours), the signal that ends it in order."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    user: Account | None = None
    stop_signal: str = "TERM"

    def as_json(self) -> dict[str, Any]:
        user = self.user and {"uid": self.user.uid, "gid": self.user.gid, "groups": self.user.groups()}
        return {"argv": list(self.argv), "env": dict(self.env), "user": user, "stop_signal": self.stop_signal}


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": str(home)}


@dataclass(frozen=True)
class Postgres:
    """One PostgreSQL cluster; `durable=False` trades crash safety for speed (tests only)."""

    folder: Path
    port: int
    password: str = field(repr=False)
    durable: bool = True
    user: Account | None = field(default_factory=lambda: account("postgres"))

    @property
    def data(self) -> Path:
        return self.folder / "cluster"

    @property
    def url(self) -> str:
        """The superuser's URL."""
        return f"postgresql://postgres:{self.password}@{LOOPBACK}:{self.port}/postgres"

    @property
    def settings(self) -> dict[str, str]:
        """Server settings; the private server never opens a Unix socket and never leaves the loopback interface."""
        safe = "on" if self.durable else "off"
        return {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "256MB" if self.durable else "64MB",
            "password_encryption": "scram-sha-256",
            "fsync": safe,
            "synchronous_commit": safe,
            "full_page_writes": safe,
            "track_io_timing": "on",
            "max_wal_size": "2GB",
            "checkpoint_timeout": "15min",
            "random_page_cost": "1.1",
            "log_destination": "stderr",
            "logging_collector": "off",
            "log_line_prefix": "%m [%p] %q%u@%d ",
            "log_min_duration_statement": "1s",
            "log_min_error_statement": "panic",  # statements carry people's texts
            "log_lock_waits": "on",
            "log_timezone": "UTC",
            "timezone": "UTC",
        }

    def binary(self, name: str) -> str:
        version = self.data / "PG_VERSION"
        return str(postgres_folder(version.read_text().strip() if version.exists() else None) / name)

    def prepare(self) -> None:
        """Create the cluster if there is none; an attempt that was interrupted leaves nothing behind."""
        own_folder(self.folder, self.user)
        if (self.data / "PG_VERSION").exists():
            return
        draft = self.folder / "cluster.new"
        shutil.rmtree(draft, ignore_errors=True)
        secret = own_file(self.folder / "password", self.password + "\n", self.user)
        options = ["--username=postgres", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8"]
        options += ["--locale=C.UTF-8", "--no-instructions", "--data-checksums" if self.durable else "--no-sync"]
        try:
            _run([self.binary("initdb"), f"--pgdata={draft}", *options], self)
        finally:
            secret.unlink(missing_ok=True)
        draft.replace(self.data)

    def programs(self) -> list[Program]:
        settings = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        argv = (self.binary("postgres"), "-D", str(self.data), *settings)
        return [Program("postgres", argv, _environment(self.folder), self.user, stop_signal="INT")]

    def is_ready(self) -> bool:
        """Whether the postmaster says so in its pid file (8th line) and takes connections."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready" and answers(self.port)


@dataclass(frozen=True)
class Redis:
    """One Redis server; keeps an append-only file when durable."""

    folder: Path
    port: int
    password: str = field(repr=False)
    durable: bool = True
    user: Account | None = field(default_factory=lambda: account("redis", "nobody"))

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    @property
    def config(self) -> str:
        return "\n".join(
            [
                f"bind {LOOPBACK}",
                f"port {self.port}",
                "protected-mode yes",
                f"requirepass {self.password}",
                "daemonize no",
                f'dir "{_quoted(self.folder)}"',
                f"appendonly {'yes' if self.durable else 'no'}",
                'save ""',
                "maxmemory 256mb",
                "maxmemory-policy volatile-lru",
                "loglevel notice",
                "",
            ]
        )

    def prepare(self) -> None:
        own_folder(self.folder, self.user)
        own_file(self.folder / "redis.conf", self.config, self.user)

    def programs(self) -> list[Program]:
        argv = (find_program("redis-server", "redis-server"), str(self.folder / "redis.conf"))
        return [Program("redis", argv, _environment(self.folder), self.user)]

    def is_ready(self) -> bool:
        return b"+PONG" in answer(self.port, f"AUTH {self.password}\r\nPING\r\n".encode(), 12)


@dataclass(frozen=True)
class Rabbit:
    """One RabbitMQ node with an epmd of its own, so that other Erlang nodes on the machine do not matter."""

    folder: Path
    port: int
    distribution_port: int
    epmd_port: int
    password: str = field(repr=False)
    user: Account | None = field(default_factory=lambda: account("rabbitmq"))

    @property
    def url(self) -> str:
        return f"amqp://mdcreator:{self.password}@{LOOPBACK}:{self.port}/"

    @property
    def config(self) -> str:
        """The first boot makes our user instead of guest; limits are for a developer's machine."""
        return "\n".join(
            [
                f"listeners.tcp.1 = {LOOPBACK}:{self.port}",
                "default_user = mdcreator",
                f"default_pass = {self.password}",
                "vm_memory_high_watermark.absolute = 768MB",
                "disk_free_limit.absolute = 256MB",
                "collect_statistics = none",
                "log.file = false",
                "log.console = true",
                "",
            ]
        )

    @property
    def environment(self) -> dict[str, str]:
        """Everything the node reads, so that nothing from /etc/rabbitmq or /var/lib/rabbitmq is used."""
        local_only = "-kernel inet_dist_use_interface {127,0,0,1}"
        return _environment(self.folder) | {
            # The server script then replaces itself by the Erlang VM: one process to supervise, none to orphan.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            # Without this any VM here, even the short-lived ones of RabbitMQ's scripts, leaves an epmd daemon behind.
            "ERL_FLAGS": f"-start_epmd false {local_only}",
            "ERL_CRASH_DUMP_BYTES": "0",
            "RABBITMQ_NODENAME": "mdcreator@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "environment.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(self.folder / "feature_flags"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_LOG": "warning,-color",
        }

    def prepare(self) -> None:
        own_folder(self.folder, self.user)
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            own_file(cookie, hashlib.sha256(b"cookie" + self.password.encode()).hexdigest(), self.user, 0o400)
        own_file(self.folder / "rabbitmq.conf", self.config, self.user)
        own_file(self.folder / "environment.conf", "", self.user)
        own_file(self.folder / "enabled_plugins", "[].\n", self.user)

    def programs(self) -> list[Program]:
        epmd = (find_program("epmd", "erlang-base"), "-port", str(self.epmd_port), "-address", LOOPBACK)
        server = find_program("rabbitmq-server", "rabbitmq-server", "/usr/lib/rabbitmq/bin")
        return [
            Program("epmd", epmd, _environment(self.folder), self.user),
            Program("rabbitmq", (server,), self.environment, self.user),
        ]

    def is_ready(self) -> bool:
        """Whether the broker opens an AMQP conversation; its listener is the last thing to start."""
        return answer(self.port, b"AMQP\x00\x00\x09\x01", 1) == b"\x01"


Server = Postgres | Redis | Rabbit


def answers(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def answer(port: int, question: bytes, at_least: int) -> bytes:
    """First bytes a loopback server says to this question; empty if it says nothing within a second."""
    heard = b""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(question)
            while len(heard) < at_least and (more := connection.recv(256)):
                heard += more
    except OSError:
        return b""
    return heard[:1] if at_least == 1 else heard


def _run(argv: list[str], server: Postgres) -> None:
    user = server.user
    done = subprocess.run(
        argv,
        env=_environment(server.folder),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=user.groups() if user else None,
    )
    if done.returncode != 0:
        raise CommandFailedError(f"{Path(argv[0]).name} failed: {done.stderr.strip() or done.stdout.strip()}")


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
