"""The tables, and what misses its aim."""

import math
import statistics
from collections.abc import Iterator

from deploy.bench.files.measure import GIB, KIB, MIB, PROMISED, Numbers, Sizes
from deploy.bench.rest import machine
from deploy.client import percentile

NGINX, TUS, OURS, SERVICE = "nginx", "@tus/server", "ours", "service"
LARGE = 16 * MIB
DOWNLOAD_AIM = 0.7
GROWTH_AIM_MB = 50.0


def report(numbers: Numbers, sizes: Sizes, rounds: int) -> None:
    """Print everything."""
    shown = Shown(numbers)
    print(f"\n{machine()}\nmedians of {rounds} interleaved rounds, MB/s of one client; in brackets ours by theirs\n")
    shown.uploads(sizes)
    shown.downloads(sizes)
    shown.small(sizes)
    print("\n| memory of files | grows by, MB |\n|---|---|")
    for what, grown in numbers.growth.items():
        print(f"| {_size(sizes.largest)} {what} | {grown / 1e6:.1f} |")
    misses = list(shown.misses(sizes))
    print(f"\naims: downloads from {_size(LARGE)} >= {DOWNLOAD_AIM:.0%} of nginx, uploads ahead of {TUS}{PROMISED},")
    print(f"memory < {GROWTH_AIM_MB:.0f} MB: {'; '.join(misses) if misses else 'pass'}")


class Shown:
    """Rates from the medians of seconds."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def uploads(self, sizes: Sizes) -> None:
        """Ours is whole: begin, signed PUTs (parts over 4 connections), complete."""
        print(f"| upload | ours | nginx PUT | {TUS} | nginx{PROMISED} | {TUS}{PROMISED} |\n|---|---|---|---|---|---|")
        for size in sizes.transfers:
            ours = self._rate(size, OURS, "up")
            others = [self._rate(size, name, *what) for what in (("up",), ("up", "promise")) for name in (NGINX, TUS)]
            print(f"| {_size(size)} | {_number(ours)} | {' | '.join(_beside(ours, other) for other in others)} |")

    def downloads(self, sizes: Sizes) -> None:
        """The bytes alone by a signed URL, with asking for that URL, and without the gateway."""
        print("\n| download | ours, bytes | with our check | service without gateway | nginx | @tus/server |")
        print("|---|---|---|---|---|---|")
        for size in sizes.transfers:
            ours = self._rate(size, OURS, "down")
            whole, alone = self._rate(size, OURS, "check", "down"), self._rate(size, SERVICE, "down")
            others = [self._rate(size, name, "down") for name in (NGINX, TUS)]
            cells = [_number(ours), _number(whole), _number(alone), *(_beside(ours, other) for other in others)]
            print(f"| {_size(size)} | {' | '.join(cells)} |")

    def small(self, sizes: Sizes) -> None:
        """Latencies of many uploads."""
        print(f"\n| {sizes.small:,} uploads of {_size(sizes.small_bytes)} | p50 ms | p95 ms |\n|---|---|---|")
        for name, seconds in self._numbers.small.items():
            print(f"| {name} | {percentile(seconds, 50) * 1000:.1f} | {percentile(seconds, 95) * 1000:.1f} |")

    def misses(self, sizes: Sizes) -> Iterator[str]:
        """What does not reach its aim."""
        for size in sizes.transfers:
            share = self._rate(size, OURS, "down") / self._rate(size, NGINX, "down")
            if size >= LARGE and share < DOWNLOAD_AIM:
                yield f"download of {_size(size)} {share:.0%} of nginx"
            ahead = self._rate(size, OURS, "up") / self._rate(size, TUS, "up", "promise")
            if ahead < 1:
                yield f"upload of {_size(size)} {ahead:.2f} of {TUS}"
        for what, grown in self._numbers.growth.items():
            if grown / 1e6 >= GROWTH_AIM_MB:
                yield f"memory {grown / 1e6:.0f} MB ({what})"

    def _rate(self, size: int, name: str, *what: str) -> float:
        rounds = zip(*(self._numbers.seconds[one, name, size] for one in what), strict=True)
        seconds = list(map(sum, rounds))
        return size / 1e6 / statistics.median(seconds) if seconds else math.nan


def _beside(ours: float, other: float) -> str:
    return "failed" if math.isnan(other) else f"{_number(other)} ({ours / other:.2f})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _size(size: int) -> str:
    return next(f"{size // unit} {name}" for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")) if size >= unit)
