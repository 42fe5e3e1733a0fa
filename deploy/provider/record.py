"""What the provider received, kept in memory so that tests can say what reached it and when streams ended."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

End = Literal["open", "done", "closed by caller", "broken off"]


@dataclass
class Received:
    """One request; headers by lower-case names."""

    number: int
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Any
    """As JSON if it is JSON, else text."""
    began: float
    """Seconds of the monotonic clock of this machine."""
    model: str = ""
    stream: bool = False
    pieces: int = 0
    """Of text, sent."""
    end: End = "open"
    ended: float | None = None


class Record:
    """The last requests, and the streams open now."""

    def __init__(self, keep: int) -> None:
        self.requests: deque[Received] = deque(maxlen=keep)
        self.open = 0
        self.count = 0
        self._changed = asyncio.Event()

    def begin(self, method: str, path: str, query: str, headers: Mapping[str, str], body: Any) -> Received:
        """Note a request."""
        self.count += 1
        one = Received(self.count, method, path, query, headers, body, time.monotonic())
        self.requests.append(one)
        self.open += 1
        self._tell()
        return one

    def finish(self, one: Received, end: End) -> None:
        """Note how it ended."""
        one.end, one.ended = end, time.monotonic()
        self.open -= 1
        self._tell()

    def clear(self) -> None:
        """Forget the requests; open ones go on."""
        self.requests.clear()
        self.count = 0

    def listed(self) -> list[dict[str, Any]]:
        """All requests, oldest first."""
        return [asdict(one) for one in self.requests]

    async def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until it holds; whether it does."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not holds():
                    await self._changed.wait()
        return holds()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
