"""What somebody at a terminal sees while many things are done one after the other."""

import sys
import time
from collections.abc import Iterable

SPEAK_SECONDS = 5.0
LINE_WIDTH = 78


def say(text: str = "") -> None:
    """One line, visible at once even through a pipe."""
    print(text, flush=True)


def say_counts(rows: Iterable[tuple[str, int, str]]) -> None:
    """What was counted, a line each: name, count, remark."""
    for name, count, remark in rows:
        say(f"  {name:<18} {count:>8,}  {remark}".rstrip())


class Progress:
    """Counts towards a total: one line that changes on a terminal, a line every five seconds elsewhere."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._count = 0
        self._begun = self._spoken = time.monotonic()
        self._terminal = sys.stdout.isatty()

    def step(self) -> None:
        """One more is done."""
        self._count += 1
        now = time.monotonic()
        if now - self._spoken < (0.1 if self._terminal else SPEAK_SECONDS):
            return
        self._spoken = now
        rate = self._count / max(now - self._begun, 0.001)
        line = f"  {self._what:<16} {self._count:,} of {self._total:,}  ({rate:,.0f}/s)"
        if self._terminal:
            print(f"{line:<{LINE_WIDTH}}\r", end="", flush=True)
        else:
            say(line)

    def done(self, result: str) -> None:
        """The result in place of the count."""
        say(f"{f'  {self._what:<16} {result}':<{LINE_WIDTH if self._terminal else 0}}")
