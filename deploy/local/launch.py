"""Becomes one program of the fleet: what supervisor starts. Run as `launch.py <name>` in the checkout's folder.

First ends what an earlier start of the same program left behind (a killed nginx leaves its workers, a killed
supervisord everything), then drops to the program's user and replaces itself by the program, with exactly the
environment the plan gives it. Not supervisor's own `user=`: the venv's Python may lie where that user cannot read.
Standard library only: started with `python -I -S`, it costs 20 ms.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PLAN = Path(".state/run/plan.json")
BOOT = Path("/proc/sys/kernel/random/boot_id")
QUICK_SECONDS = 5.0
MAX_PAUSE_SECONDS = 10


def record_file(name: str) -> Path:
    return PLAN.with_name(f"{name}.pid")


def started_at(pid: int) -> str | None:
    """Start time of a process in clock ticks (tells it from a later one with the same pid); None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def group_members(group: int) -> list[int]:
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] not in "ZX":
                members.append(int(stat.parent.name))
    return members


def write_record(name: str) -> float:
    """Note who we are, so that a later start or `make down` can find us even without supervisor.

    Returns the seconds to wait before going on: a program that keeps ending as soon as it starts must not spin.
    """
    pid = os.getpid()
    earlier = read_record(name) or {}
    now = time.time()
    failures = earlier.get("failures", 0) + 1 if now - earlier.get("at", 0) < QUICK_SECONDS else 0
    pause = float(min(max(failures - 1, 0), MAX_PAUSE_SECONDS))
    record = {
        "pid": pid,
        "started": started_at(pid),
        "boot": BOOT.read_text(),
        "folder": os.getcwd(),  # noqa: PTH109 - must not be resolved differently than below
        "at": now + pause,
        "failures": failures,
    }
    record_file(name).write_text(json.dumps(record))
    return pause


def failures(name: str) -> int:
    """How often in a row the program ended within seconds of its start."""
    return int((read_record(name) or {}).get("failures", 0))


def read_record(name: str) -> dict[str, Any] | None:
    """The record of this checkout and this boot of the machine, if there is one."""
    try:
        record: dict[str, Any] = json.loads(record_file(name).read_text())
    except (OSError, ValueError):
        return None
    same = record.get("folder") == os.getcwd() and record.get("boot") == BOOT.read_text()  # noqa: PTH109
    return record if same else None


def leftovers(name: str) -> list[int]:
    """Processes that are still there from the recorded start: the program itself and its process group."""
    record = read_record(name)
    if record is None or record["pid"] == os.getpid():
        return []
    leader = started_at(record["pid"])
    if leader is not None and leader != record["started"]:
        return []  # the pid belongs to somebody else now
    return group_members(record["pid"])


def reap(name: str, stop_signal: str, patience_seconds: float = 10.0) -> bool:
    """End leftovers: in order first, then at once. True if there were any."""
    deadline = time.monotonic() + patience_seconds
    asked: set[int] = set()
    while found := leftovers(name):
        leader = (read_record(name) or {}).get("pid")
        ending = {leader} if leader in found else set(found)  # its children end with it; those that do not come next
        if time.monotonic() > deadline:
            _signal(found, signal.SIGKILL)
        _signal(ending - asked, getattr(signal, f"SIG{stop_signal}"))
        asked |= ending
        time.sleep(0.05)
    return bool(asked)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def become(program: dict[str, Any]) -> None:
    """Replace this process by the program."""
    os.umask(0o077)
    user = program["user"]
    if user is not None:
        os.setgroups(user["groups"])
        os.setgid(user["gid"])
        os.setuid(user["uid"])
    os.chdir(program["cwd"])
    os.execve(program["argv"][0], program["argv"], program["env"])


def main() -> None:
    name = sys.argv[1]
    program = json.loads(PLAN.read_text())["programs"][name]
    reap(name, program["stop_signal"])
    time.sleep(write_record(name))
    become(program)


if __name__ == "__main__":
    main()
