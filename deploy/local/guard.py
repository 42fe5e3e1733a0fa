"""Watches a test's backing server: when the test process ends, however it ends, the server ends too.

Reads one JSON line (programs as in `backing.Program.as_json`) from standard input, starts them, and stops them as soon
as that input closes; unless it said `keep` before, the data folder goes too. Run as a script by `servers`, isolated
from the environment: standard library only.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    order = json.loads(sys.stdin.buffer.readline())
    running = [(start(program), program) for program in order["programs"]]
    sys.stdout.write(" ".join(str(process.pid) for process, _ in running) + "\n")
    sys.stdout.flush()
    wait(running)
    for process, program in reversed(running):
        stop(process, program)
    if sys.stdin.buffer.readline() != b"keep\n":
        shutil.rmtree(order["folder"], ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(order["folder"]))  # noqa: PTH106, PTH120 - the last guard removes what all shared


def start(program: dict[str, Any]) -> subprocess.Popen[bytes]:
    def die_with_parent() -> None:
        # Second line of defence, for a guard that was killed itself. After the change of user: that clears it.
        LIBC.prctl(PR_SET_PDEATHSIG, getattr(signal, "SIG" + program["stop_signal"]))
        for restored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(restored, signal.SIG_DFL)

    user = program["user"]
    with open(program["log"], "ab") as log:  # noqa: PTH123 - pathlib costs half of this script's start
        return subprocess.Popen(
            program["argv"],
            env=program["env"],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=user and user["uid"],
            group=user and user["gid"],
            extra_groups=user and user["groups"],
            preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has no threads
        )


def wait(running: list[tuple[subprocess.Popen[bytes], dict[str, Any]]]) -> None:
    parent = os.getppid()
    ends = [os.pidfd_open(process.pid) for process, _ in running]
    while os.getppid() == parent:
        if select.select([0, *ends], [], [], 1.0)[0]:
            return


def stop(process: subprocess.Popen[bytes], program: dict[str, Any]) -> None:
    if process.poll() is None:
        process.send_signal(getattr(signal, "SIG" + program["stop_signal"]))
        deadline = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    main()
