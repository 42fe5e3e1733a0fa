"""What the person at the terminal sees while something takes its time."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

FIRST_WORD_SECONDS = 5.0


class NotReadyError(Exception):
    """Something did not become ready in time, or keeps failing; `names` says what."""

    def __init__(self, names: list[str], reason: str) -> None:
        super().__init__(f"{', '.join(names)}: {reason}")
        self.names = names


def say(text: str = "") -> None:
    """One line, visible at once even through a pipe; a reader who has gone does not stop the work."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def done(name: str, since: float, word: str = "ready") -> None:
    """One finished step and how long it took."""
    clear = "\033[K" if sys.stdout.isatty() else ""
    say(f"  {name:<14} {word:<5} {time.monotonic() - since:6.1f} s{clear}")


@contextmanager
def step(name: str, word: str) -> Iterator[None]:
    """Show that something is being done, then how long it took."""
    begun = time.monotonic()
    if sys.stdout.isatty():
        print(f"  {name:<14} …\r", end="", flush=True)
    yield
    done(name, begun, word)


def wait_for(
    checks: Mapping[str, Callable[[], bool]],
    *,
    seconds: float,
    begun: float | None = None,
    gives_up: Callable[[str], bool] = lambda _: False,
) -> None:
    """Wait until all are ready, reporting each with its time since `begun` (None: silently).

    Raises `NotReadyError` after `seconds`, or as soon as one of those left gives up.
    """
    left = dict(checks)
    started = time.monotonic()
    silence = FIRST_WORD_SECONDS
    while left:
        for name in [name for name, ready in left.items() if ready()]:
            del left[name]
            if begun is not None:
                done(name, begun)
        passed = time.monotonic() - started
        failing = [name for name in left if gives_up(name)]
        if failing:
            raise NotReadyError(failing, "ends as soon as it is started")
        if left and passed > seconds:
            raise NotReadyError(list(left), f"not ready after {seconds:.0f} s")
        if left and sys.stdout.isatty():
            print(f"  waiting for {', '.join(left)[:60]}  {passed:.0f} s\033[K\r", end="", flush=True)
        elif left and passed > silence:
            say(f"  … waiting for {', '.join(left)}")
            silence *= 2
        time.sleep(0.05)
