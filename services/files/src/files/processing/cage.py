"""What a job may ask of the kernel: read what it holds, use memory, answer, end. No file, socket, process or signal.

A decoder taken over by a hostile file runs as the service's own user: without this it could read the service's
environment in /proc, connect to the database or kill its neighbours. Linux on x86-64 and aarch64; seccomp(2).
"""

import ctypes
import os
import platform
import resource
import signal
import struct
from typing import Final, NamedTuple

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_KILL_PROCESS: Final = 0x80000000
_REFUSE: Final = 0x00050000 | 1
"""The call fails with EPERM, and libraries go on without it."""
_LOAD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_NUMBER_OFFSET: Final = 0
_MACHINE_OFFSET: Final = 4
_INSTRUCTION: Final = struct.Struct("=HBBI")

_CALLS: Final = {
    # name: (x86-64, aarch64); None where the machine has no such call
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "time": (201, None),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "newfstatat": (262, 79),
    "getrandom": (318, 278),
    "rseq": (334, 293),
}
"""All calls a job may make; anything else is refused."""
_MACHINES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Name -> AUDIT_ARCH of linux/audit.h, column of `_CALLS`."""

_libc = ctypes.CDLL(None, use_errno=True)


class Limits(NamedTuple):
    """What one job may use."""

    seconds: float = 60.0
    """Wall time."""
    cpu_seconds: int = 30
    memory_bytes: int = 1536 * 1024 * 1024
    """Address space, the preloaded libraries' included; 100 megapixels with alpha take 400 MB."""


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def close_cage(limits: Limits) -> None:
    """Give up, for good, all that a job must not have. Raises `OSError` where the kernel does not take it.

    Files that are open stay open. What is over a limit: more CPU time ends the process with SIGXCPU, memory fails.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    for unwanted in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        resource.setrlimit(unwanted, (0, 0))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    program = _filter(platform.machine())
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(program) // _INSTRUCTION.size, program)))


def _filter(machine: str) -> bytes:
    """The list of calls as a classic BPF program."""
    if machine not in _MACHINES:
        raise OSError(f"no list of system calls for {machine}")
    audit, column = _MACHINES[machine]
    numbers = [call[column] for call in _CALLS.values()]
    known = [number for number in numbers if number is not None]
    steps = [
        (_LOAD, 0, 0, _MACHINE_OFFSET),
        (_JUMP_IF_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        *((_JUMP_IF_EQUAL, len(known) - place, 0, number) for place, number in enumerate(known)),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(_INSTRUCTION.pack(*step) for step in steps)


def _prctl(*arguments: object) -> None:
    whole = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    if _libc.prctl(*whole, *[ctypes.c_ulong(0)] * (5 - len(whole))):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
