"""What the person at the terminal sees while something takes its time."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

SPEAK_SECONDS = 5.0


class NotReadyError(Exception):
    """Something did not become ready in time; `names` says what."""

    def __init__(self, names: list[str], seconds: float) -> None:
        super().__init__(f"not ready after {seconds:.0f} s: {', '.join(names)}")
        self.names = names


def say(text: str = "") -> None:
    """One line, visible at once even through a pipe."""
    print(text, flush=True)


def done(name: str, since: float) -> None:
    """One finished step and how long it took."""
    say(f"  {name:<16} ready  {time.monotonic() - since:5.1f} s")


@contextmanager
def step(name: str) -> Iterator[None]:
    """Show that something is being done, then how long it took."""
    begun = time.monotonic()
    if sys.stdout.isatty():
        print(f"  {name:<16} …\r", end="", flush=True)
    yield
    done(name, begun)


def wait_for(checks: Mapping[str, Callable[[], bool]], begun: float | None, seconds: float) -> None:
    """Wait until all are ready, reporting each with its time since `begun` (None: silently).

    Raises `NotReadyError` after `seconds`.
    """
    left = dict(checks)
    spoken = started = time.monotonic()
    while left:
        for name in [name for name, ready in left.items() if ready()]:
            del left[name]
            if begun is not None:
                done(name, begun)
        now = time.monotonic()
        if left and now - started > seconds:
            raise NotReadyError(list(left), seconds)
        if left and sys.stdout.isatty():
            print(f"  waiting for {', '.join(left)[:60]}  {now - (begun or started):.0f} s\033[K\r", end="", flush=True)
        elif left and now - spoken > SPEAK_SECONDS:
            say(f"  … waiting for {', '.join(left)}")
            spoken = now
        time.sleep(0.05)
