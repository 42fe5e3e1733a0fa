"""Work that would hold up the event loop, in processes of its own: Markdown to state and back, merging, checking.

The engine never lets go of the interpreter lock, so threads would not help.
"""

import asyncio
import gc
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final, TypeVar

from common.errors import UnavailableError

T = TypeVar("T")

PROCESSES: Final = 2
"""So that a huge document does not hold up all others."""
SECONDS: Final = 120.0
WAITING: Final = 64
"""More tasks than this in line is an honest 503."""
TRIES: Final = 2


class WorkshopUnavailableError(UnavailableError):
    """Too much is waiting, or a worker died over it."""

    code = "workshop_unavailable"


class Workshop:
    """Worker processes, started at the first task and again after one died."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._waiting = 0

    def _open(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(PROCESSES, mp_context=context, initializer=gc.disable)
        return self._pool

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Result of a pure function of a module. Raises what it raises, and `WorkshopUnavailableError`."""
        if self._waiting >= WAITING:
            raise WorkshopUnavailableError("too much work is waiting")
        self._waiting += 1
        try:
            for _ in range(TRIES):
                pool = self._open()
                try:
                    async with asyncio.timeout(SECONDS):
                        return await asyncio.get_running_loop().run_in_executor(pool, _done, function, *arguments)
                except BrokenProcessPool:
                    if self._pool is pool:
                        self.close()
                except TimeoutError:
                    if self._pool is pool:
                        self.close()
                    break
        finally:
            self._waiting -= 1
        raise WorkshopUnavailableError("a worker died or took too long")

    def close(self) -> None:
        """End the workers; what they were doing is lost."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        for process in list((pool._processes or {}).values()):  # noqa: SLF001 - there is no public way to end one
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)


def _done(function: Callable[..., T], *arguments: object) -> T:
    """In the worker: garbage is collected between tasks, since during one there is a third of the time in it."""
    try:
        return function(*arguments)
    finally:
        gc.collect()
