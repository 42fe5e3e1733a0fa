"""The process that jobs are forked from: libraries loaded, environment empty, no socket but the one to the service.

Protocol, over a SOCK_SEQPACKET socket whose descriptor is the last argument: a message is JSON `[media type, limits]`
with three descriptors: the file, where the facts go, and the job's lifeline. The exit code comes back over the lifeline
as four bytes (`EXIT_CODE`), minus a signal's number; to shut it down from the other side kills the job. When the socket
closes, the zygote ends, and its jobs with it (`cage`).
"""

import gc
import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from .cage import Limits, close_cage
from .facts import EXIT_CODE, FAILED, OUT_OF_MEMORY, encode
from .job import Job, facts_of

MESSAGE_BYTES: Final = 8192
_DESCRIPTORS: Final = 3
_CAUSE_CHARACTERS: Final = 500


class _Zygote:
    def __init__(self, control: socket.socket, job: Job) -> None:
        self._control = control
        self._job = job
        self._lifelines: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Fork jobs until the control socket closes."""
        ended, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(ended, selectors.EVENT_READ)
        going_on = True
        while going_on:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    going_on = self._start()
                elif key.fileobj == ended:
                    with suppress(BlockingIOError):
                        os.read(ended, 512)
                    self._reap()
                else:
                    self._kill(key.data)

    def _start(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, _DESCRIPTORS)
        if not message:
            return False
        file, facts, lifeline = descriptors
        pid = os.fork()
        if not pid:
            self._become_job(message, file, facts)
        os.close(file)
        os.close(facts)
        self._lifelines[pid] = socket.socket(fileno=lifeline)
        self._selector.register(lifeline, selectors.EVENT_READ, pid)
        return True

    def _become_job(self, message: bytes, file: int, facts: int) -> NoReturn:
        code = FAILED
        try:
            signal.set_wakeup_fd(-1)
            _close_all_but(2, file, facts)
            code = _work(self._job, message, file, facts)
        finally:
            os._exit(code)  # nothing of the zygote's is to run here

    def _reap(self) -> None:
        while self._lifelines:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            lifeline = self._lifelines.pop(pid)
            with suppress(KeyError):  # one that was killed is not watched any more
                self._selector.unregister(lifeline.fileno())
            with lifeline, suppress(OSError):
                lifeline.send(EXIT_CODE.pack(os.waitstatus_to_exitcode(status)))

    def _kill(self, pid: int) -> None:
        if pid in self._lifelines:
            self._selector.unregister(self._lifelines[pid].fileno())
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so the number is still its own


def _close_all_but(*kept: int) -> None:
    for path in Path("/proc/self/fd").iterdir():
        if int(path.name) not in kept:
            with suppress(OSError):  # the one that listed them
                os.close(int(path.name))


def _work(job: Job, message: bytes, file: int, facts: int) -> int:
    """Exit code, after the facts or the cause are written."""
    try:
        media_type, limits = json.loads(message)
        close_cage(Limits(*limits))
        with os.fdopen(file, "rb") as opened:
            opened.seek(0)  # the position is shared with whoever tried before
            _write(facts, encode(job(opened, media_type)))
    except MemoryError:
        return OUT_OF_MEMORY
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the job's
        _write(facts, repr(error)[:_CAUSE_CHARACTERS].encode(errors="replace"))
        return FAILED
    return 0


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def main(job: Job = facts_of) -> None:
    """Serve the socket named on the command line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the service decides when it ends
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # or every job's first collection would copy all pages of the libraries
    with socket.socket(fileno=int(sys.argv[-1])) as control:
        _Zygote(control, job).serve()


if __name__ == "__main__":
    main()
