"""supervisord for one checkout: its configuration and the conversation with it.

All paths in the configuration are relative to the checkout, where supervisord is started: no folder name, however odd,
meets its quoting rules.
"""

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from deploy.local.backing import Program
from deploy.local.machine import own_file

SOCKET = ".state/run/supervisor.sock"
LONGEST_SOCKET = 107 - len(".1234567")  # what Linux allows, less what supervisord appends while it makes it
CONFIG = ".state/run/supervisord.conf"
PID = ".state/run/supervisord.pid"
LOG = ".state/logs/supervisord.log"
USER = "mdcreator"
STOP_SECONDS = 40
STOPPED = {"STOPPED", "STOPPING", "FATAL", "UNKNOWN"}

Info = dict[str, Any]


class SupervisorFailedError(Exception):
    """supervisord did not start or does not do as told."""


def socket_of(root: Path) -> str:
    """Path of supervisord's socket: below `.state`, or in a private folder below /tmp if that path is too long."""
    if len(os.fsencode(root / SOCKET)) <= LONGEST_SOCKET:
        return SOCKET
    name = f"mdcreator-{os.geteuid()}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}"
    folder = Path(tempfile.gettempdir()) / name
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise SupervisorFailedError(f"{folder} belongs to somebody else")
    return str(folder / "supervisor.sock")


def config(groups: Mapping[str, list[Program]], password: str, waiting: str, socket: str = SOCKET) -> str:
    """supervisord's configuration: groups stop in reverse order; the group `waiting` is started by name, later."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    head = f"""\
[supervisord]
logfile={LOG}
logfile_maxbytes=5MB
logfile_backups=1
pidfile={PID}
identifier=mdcreator
minfds={files}
umask=077
{"user=root" if os.geteuid() == 0 else ""}

[unix_http_server]
file={socket}
chmod=0700
username={USER}
password={password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    parts = [head]
    for rank, (group, programs) in enumerate(groups.items()):
        names = ",".join(program.name for program in programs)
        parts.append(f"[group:{group}]\nprograms={names}\npriority={rank}\n")
        parts += [_program(program, "false" if group == waiting else "true") for program in programs]
    return "\n".join(parts)


def _program(program: Program, autostart: str) -> str:
    return f"""\
[program:{program.name}]
command=.venv/bin/python -I -S deploy/local/launch.py {program.name}
autostart={autostart}
autorestart=true
startsecs=1
startretries=1000000
stopsignal={program.stop_signal}
stopwaitsecs={STOP_SECONDS}
killasgroup=true
redirect_stderr=true
stdout_logfile=.state/logs/{program.name}.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=1
"""


class Supervisor:
    """A running supervisord, or the place where one may run."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def start(self, groups: Mapping[str, list[Program]], password: str, waiting: str) -> None:
        """Start supervisord so that it outlives us."""
        socket = socket_of(self._root)
        own_file(self._root / CONFIG, config(groups, password, waiting, socket), None)
        (self._root / socket).unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", CONFIG],
            cwd=self._root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        deadline = time.monotonic() + 15
        while done.returncode == 0 and self.processes() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if self.processes() is None:
            raise SupervisorFailedError(f"supervisord did not start: {done.stdout.strip() or LOG}")

    def start_group(self, name: str) -> None:
        """Start these programs without waiting until they are up."""
        with self._server() as server:
            server.supervisor.startProcessGroup(name, False)

    def processes(self) -> dict[str, Info] | None:
        """What runs, by name; None if there is no supervisord."""
        try:
            with self._server() as server:
                found = server.supervisor.getAllProcessInfo()
        except (OSError, xmlrpc.client.Error):
            return None
        assert isinstance(found, list)
        return {info["name"]: info for info in found}

    def stop(self, seconds: float) -> bool:
        """Have supervisord stop everything in order and then itself; False if there is none.

        It is asked by signal, and found by its command and folder: that works even if `.state` was deleted meanwhile.
        """
        pid = self._pid()
        if pid is None:
            return False
        deadline = time.monotonic() + seconds
        os.kill(pid, signal.SIGTERM)
        while self._pid() == pid:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        return True

    def forget(self) -> None:
        """Remove the socket's folder if it is not below `.state`."""
        folder = Path(socket_of(self._root)).parent
        if folder.is_absolute():
            shutil.rmtree(folder, ignore_errors=True)

    def runs(self) -> bool:
        """Whether there is a supervisord of this checkout, answering or not."""
        return self._pid() is not None

    def _pid(self) -> int | None:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes().split(b"\0")
                if b"supervisor.supervisord" in command and (process / "cwd").readlink() == self._root:
                    return int(process.name)
            except OSError:
                continue  # gone, or of another user
        return None

    def _server(self) -> xmlrpc.client.ServerProxy:
        password = ""
        if (self._root / CONFIG).exists():
            lines = (self._root / CONFIG).read_text().splitlines()
            password = next(line.partition("=")[2] for line in lines if line.startswith("password="))
        absolute = str(self._root / socket_of(self._root))
        place = min(absolute, os.path.relpath(absolute), key=len)
        transport = SupervisorTransport(USER, password, f"unix://{place}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
