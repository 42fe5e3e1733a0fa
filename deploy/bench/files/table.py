"""`make bench table=files`: uploads and downloads through our gateway beside nginx and @tus/server in the same run.

One client for all, blocking, bodies by sendfile; servers take turns in every round. Ours gives a promise the others do
not (on the disk, SHA-256 verified), so their uploads are shown with it too: the bench itself then reads and flushes.
"""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from deploy.bench.files.measure import Bench, Sizes
from deploy.bench.files.ours import running
from deploy.bench.files.peers import peers
from deploy.bench.files.report import report

QUICK = Sizes(transfers={1 << 10: 20, 64 << 10: 20, 1 << 20: 5, 16 << 20: 2, 64 << 20: 1}, small=100, largest=64 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: up to 64 MiB, one round")
    parser.add_argument("--rounds", type=int, default=0, help="default 3, quick 1")
    options = parser.parse_args()
    asyncio.run(_bench(QUICK if options.quick else Sizes(), options.rounds or (1 if options.quick else 3)))


async def _bench(sizes: Sizes, rounds: int) -> None:
    state = Path(os.environ.get("MDC_STATE_DIR", ".state")).resolve()
    state.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-files-", dir=state) as folder:
        async with running() as ours:
            bench = Bench(ours, peers(Path(folder)), Path(folder), sizes)
            await asyncio.to_thread(bench.run, rounds)
    report(bench.numbers, sizes, rounds)
