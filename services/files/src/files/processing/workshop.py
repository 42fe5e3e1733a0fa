"""Processing of uploaded files, each in a process of its own that has nothing to lose (`cage`) and little to use up."""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from common.errors import UnavailableError

from .cage import Limits
from .facts import EXIT_CODE, OUT_OF_MEMORY, Facts, Problem
from .sniff import HEAD_BYTES, settle

log = logging.getLogger(__name__)

COMMAND: Final = (sys.executable, "-I", "-m", "files.processing.zygote")
ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8"}
"""All that jobs inherit."""
JOBS: Final = 2
"""At once."""
MAX_RESULT_BYTES: Final = 32 * 1024 * 1024
"""Facts as JSON: 4 bytes for each character kept and the thumbnails are less."""
DEATH_SECONDS: Final = 5.0
"""A killed job is gone by then, or its zygote is not well either."""
TRIES: Final = 2
"""A job whose zygote was killed gets another: it may have been its neighbour's fault."""
_CHUNK: Final = 256 * 1024
_facts: Final = TypeAdapter(Facts)


class WorkshopClosedError(UnavailableError):
    """The service is stopping; nothing is known about the file."""

    code = "workshop_closed"


class _ZygoteDiedError(Exception):
    """Nothing is known about the job."""


class _Zygote:
    """A running zygote and the socket that keeps it alive."""

    def __init__(self, command: Sequence[str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [*command, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                env=ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be given work."""
        return self._control.fileno() >= 0 and self._process.poll() is None

    def send(self, message: bytes, descriptors: Sequence[int]) -> None:
        """Start a job. Raises `_ZygoteDiedError`."""
        try:
            socket.send_fds(self._control, [message], descriptors, socket.MSG_DONTWAIT)
        except OSError as error:
            raise _ZygoteDiedError from error

    def stop(self, *, kill: bool = False) -> None:
        """End it and its jobs; blocks until it is gone."""
        self._control.close()
        if kill:
            self._process.kill()
        try:
            self._process.wait(DEATH_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Workshop:
    """Processes files; the zygote is started at the first and again after it died."""

    def __init__(self, *, jobs: int = JOBS, limits: Limits | None = None, command: Sequence[str] = COMMAND) -> None:
        self._slots = asyncio.Semaphore(jobs)
        self._limits = limits or Limits()
        self._command = command
        self._zygote: _Zygote | None = None
        self._starting = asyncio.Lock()
        self._closed = False

    async def process(self, path: Path, media_type: str, name: str) -> Facts:
        """Facts of the file at `path`, declared as `media_type` and called `name`; waits for a free slot.

        `Facts.media_type` is the type that stands (`settle`). Whatever the file does to its job is a `problem`. Raises
        `OSError` if the file cannot be opened and `WorkshopClosedError`.
        """
        async with self._slots:
            file, head = await asyncio.to_thread(_opened, path)
            with file:
                kept = settle(media_type, head, name)
                return replace(await self._facts(file.fileno(), kept), media_type=kept)  # here a job is not believed

    async def close(self) -> None:
        """End the zygote and what it was doing; `process` raises from now on."""
        self._closed = True
        async with self._starting:
            await self._drop(self._zygote)

    async def _facts(self, file: int, media_type: str) -> Facts:
        for _ in range(TRIES):
            zygote = await self._running()
            try:
                return await self._once(zygote, file, media_type)
            except _ZygoteDiedError:
                log.warning("zygote of file processing died")
                await asyncio.to_thread(zygote.stop, kill=True)
        return Facts(media_type, problem=Problem.FAILED)

    async def _once(self, zygote: _Zygote, file: int, media_type: str) -> Facts:
        message = json.dumps([media_type, self._limits]).encode()
        with ExitStack() as stack:
            facts, their_facts = map(stack.enter_context, socket.socketpair())
            lifeline, their_lifeline = map(stack.enter_context, socket.socketpair())
            zygote.send(message, (file, their_facts.fileno(), their_lifeline.fileno()))
            their_facts.close()
            their_lifeline.close()
            facts.setblocking(False)
            lifeline.setblocking(False)
            return await self._outcome(zygote, media_type, facts, lifeline)

    async def _outcome(self, zygote: _Zygote, media_type: str, facts: socket.socket, lifeline: socket.socket) -> Facts:
        data, code = b"", None
        try:
            async with asyncio.timeout(self._limits.seconds):
                data = await _received(facts)
                if len(data) <= MAX_RESULT_BYTES:
                    code = await _exit_code(lifeline)
                    return _judged(media_type, data, code)
        except TimeoutError:
            code = -signal.SIGXCPU
        lifeline.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(DEATH_SECONDS):
                await _exit_code(lifeline)
        except TimeoutError:
            await asyncio.to_thread(zygote.stop, kill=True)
        return _judged(media_type, b"", code)

    async def _running(self) -> _Zygote:
        async with self._starting:
            if self._closed:
                raise WorkshopClosedError
            if self._zygote is None or not self._zygote.alive:
                await self._drop(self._zygote)
                self._zygote = await asyncio.to_thread(_Zygote, self._command)
            return self._zygote

    async def _drop(self, zygote: _Zygote | None) -> None:
        if zygote:
            await asyncio.to_thread(zygote.stop)
        self._zygote = None


def _opened(path: Path) -> tuple[FileIO, bytes]:
    file = path.open("rb", buffering=0)
    return file, os.pread(file.fileno(), HEAD_BYTES, 0)


async def _received(facts: socket.socket) -> bytes:
    """What the job wrote until it closed, or a little more than is allowed."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) <= MAX_RESULT_BYTES and (chunk := await loop.sock_recv(facts, _CHUNK)):
        data += chunk
    return bytes(data)


async def _exit_code(lifeline: socket.socket) -> int:
    """Exit code of the job. Raises `_ZygoteDiedError`."""
    try:
        data = await asyncio.get_running_loop().sock_recv(lifeline, EXIT_CODE.size)
    except ConnectionError as error:
        raise _ZygoteDiedError from error
    if len(data) < EXIT_CODE.size:
        raise _ZygoteDiedError
    code: int = EXIT_CODE.unpack(data)[0]
    return code


def _judged(media_type: str, data: bytes, code: int | None) -> Facts:
    """Facts from what a job left behind."""
    if code == 0:
        try:
            return _facts.validate_json(data)
        except ValidationError as error:
            log.warning("a job's facts make no sense", extra={"fields": {"cause": str(error)[:200]}})
            return Facts(media_type, problem=Problem.FAILED)
    if code == -signal.SIGXCPU:
        problem = Problem.TIMED_OUT
    elif code in {OUT_OF_MEMORY, -signal.SIGKILL}:  # not killed here: by the kernel, short of memory
        problem = Problem.OUT_OF_MEMORY
    else:
        problem = Problem.FAILED
    fields = {"problem": problem, "exit_code": code, "cause": data[:500].decode(errors="replace")}
    log.warning("file processing ended early", extra={"fields": fields})
    return Facts(media_type, problem=problem)
