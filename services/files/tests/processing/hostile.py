"""A zygote whose jobs do what the file says; run as a script by the tests of the workshop."""

import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from files.processing import zygote
from files.processing.facts import Facts, Page


def told(**facts: object) -> Facts:
    return Facts("x/y", text=[Page(1, json.dumps(facts), 0)])


def failing(call: object, *arguments: object) -> str:
    try:
        call(*arguments)  # type: ignore[operator]
    except OSError as error:
        return type(error).__name__
    return "done"


def refused() -> Facts:
    """What a job that was taken over would try."""
    return told(
        parent=failing(Path(f"/proc/{os.getppid()}/environ").read_bytes),
        read=failing(Path("/etc/passwd").read_bytes),
        write=failing(Path("/tmp/x").write_bytes, b""),
        socket=failing(socket.socket),
        unix=failing(socket.socketpair),
        fork=failing(os.fork),
        run=failing(os.execv, sys.executable, ["x"]),
        kill=failing(os.kill, os.getppid(), signal.SIGKILL),
        pipe=failing(os.pipe),
        unlink=failing(os.unlink, "/tmp/x"),
        more_time=failing(__import__("resource").prlimit, 0, 0, (9, 9)),
    )


def held() -> Facts:
    return told(environment=dict(os.environ), arguments=sys.argv, descriptors=_descriptors())


def _descriptors() -> list[int]:
    found = []
    for number in range(100):
        try:
            os.fstat(number)
            found.append(number)
        except OSError:
            continue
    return found


def act(file: BinaryIO, media_type: str) -> Facts:
    what = file.read().decode().removeprefix("%PDF-")
    found = ACTS[what]() if what in ACTS else None
    return found or told(media_type=media_type, what=what)


def loop() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(600)


def take_memory() -> None:
    bytearray(4 << 30)


def segfault() -> None:
    ctypes.string_at(1)


def abort() -> None:
    ctypes.CDLL(None).abort()


def fail() -> None:
    raise ValueError("something of the file")


def flood() -> None:
    while True:
        os.write(_results(), b"x" * 65536)


def nonsense() -> None:
    os.write(_results(), b'{"media_type": 1}')
    os._exit(0)


def silence() -> None:
    os._exit(0)


def lie() -> Facts:
    return Facts("text/html")


def _results() -> int:
    return max(_descriptors())


ACTS: dict[str, Callable[[], Facts | None]] = {
    "loop": loop,
    "sleep": sleep,
    "memory": take_memory,
    "segfault": segfault,
    "abort": abort,
    "raise": fail,
    "flood": flood,
    "nonsense": nonsense,
    "silence": silence,
    "refused": refused,
    "held": held,
    "liar": lie,
}


if __name__ == "__main__":
    zygote.main(act)
