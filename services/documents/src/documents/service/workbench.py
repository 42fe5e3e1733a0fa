"""Where texts are merged, compared and edited, without holding up the event loop."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import TooManyMergesError

T = TypeVar("T")

OFF_LOOP_BYTES = 128 * 1024
LARGE_WAITING = 16


class Workbench:
    """Works on small texts at once, which is cheaper than handing them over; on large ones one at a time, in a thread.

    A large merge takes many times its texts' memory, so a long queue is an honest 503.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(1)
        self._waiting = 0

    async def run(self, function: Callable[..., T], *contents: bytes, **options: Any) -> T:
        """Result of a pure function of `contents`. Raises `TooManyMergesError`."""
        if sum(map(len, contents)) < OFF_LOOP_BYTES:
            return function(*contents, **options)
        if self._waiting >= LARGE_WAITING:
            raise TooManyMergesError
        self._waiting += 1
        try:
            async with self._free:
                return await asyncio.to_thread(function, *contents, **options)
        finally:
            self._waiting -= 1
