"""What an operator watches: counted here, logged once a minute as one line."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0
DECIDED = ("applied", "merged", "noop", "conflict")


class Meter:
    """Counts since the last line; `conflict_rate` is conflicts among decided text updates."""

    def __init__(self, streams: Callable[[], int], lag: Callable[[], float]) -> None:
        self._streams = streams
        self._lag = lag
        self._counts: Counter[str] = Counter()
        self._updates: Counter[str] = Counter()

    def pushed(self, operations: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]]) -> None:
        """Operations were answered."""
        for operation, result in zip(operations, results, strict=True):
            self._counts[f"ops_{result['status']}"] += 1
            if operation.get("type") == "update" and not result.get("duplicate"):
                self._updates[result["status"]] += 1

    def count(self, name: str, number: int = 1) -> None:
        """Something happened."""
        self._counts[name] += number

    def read(self) -> dict[str, Any]:
        """The counts since they were last read."""
        counts, updates = self._counts, self._updates
        self._counts, self._updates = Counter(), Counter()
        decided = sum(updates[status] for status in DECIDED)
        return {
            **counts,
            "streams": self._streams(),
            "lag_ms": round(self._lag() * 1000),
            "updates": decided,
            "conflict_rate": round(updates["conflict"] / decided, 6) if decided else 0.0,
        }

    async def run(self) -> None:
        """Log them, for the life of the process."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            log.info("sync metrics", extra={"fields": self.read()})
