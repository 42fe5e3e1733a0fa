"""`make simulate N=20000 SEED=1`: so many histories from this seed on; ends with 1 if one violates anything."""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from deploy.simulate.history import Outcome, play

STEPS = 60
CHUNK = 25
SHOWN = 40


def histories(first: int, count: int, steps: int) -> Iterator[Outcome]:
    """Outcomes in the order of their seeds, played on all cores."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(partial(play, steps=steps), range(first, first + count), chunksize=CHUNK)


def main() -> int:
    """Play, count, show."""
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--histories", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    wanted = parser.parse_args()
    if wanted.histories == 1:
        outcome = play(wanted.seed, wanted.steps)
        print("\n".join(outcome.trace))
        return 1 if outcome.violations else 0
    statuses: Counter[str] = Counter()
    bad: list[Outcome] = []
    began, steps = time.perf_counter(), 0
    for number, outcome in enumerate(histories(wanted.seed, wanted.histories, wanted.steps), 1):
        statuses += outcome.statuses
        steps += outcome.steps
        bad += [outcome] if outcome.violations else []
        if number % 1000 == 0:
            print(f"  {number:,} histories, {len(bad)} with violations", file=sys.stderr)
    seconds = time.perf_counter() - began
    results = ", ".join(f"{count:,} {status}" for status, count in statuses.most_common())
    print(f"{wanted.histories:,} histories from seed {wanted.seed}, {steps:,} steps, {seconds:.0f} s "
          f"({wanted.histories / seconds:.0f}/s)")  # fmt: skip
    print(f"operations: {results}")
    print(f"{len(bad)} violations")
    for outcome in bad[:5]:
        print(f"\nseed {outcome.seed} (make simulate N=1 SEED={outcome.seed}): {outcome.violations[0]}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
