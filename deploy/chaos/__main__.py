"""`make chaos`: SECONDS=180 SEED=number PLANTED=bug."""

import argparse
import secrets
import sys

import uvloop

from deploy.chaos.faults import Times
from deploy.chaos.run import Outcome, Storm, run
from deploy.local.routes import SERVICES
from deploy.progress import say, say_counts
from deploy.tests.processes import planted_bugs

ENOUGH = 5000


def report(outcome: Outcome) -> None:
    """The counts, and the first few of whatever is wrong."""
    ledger, verdict = outcome.ledger, outcome.verdict
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(ledger.writes.items()))
    rows = [
        ("attempted", ledger.attempted, ""),
        ("acknowledged", ledger.acknowledged, kinds),
        ("without an answer", ledger.unanswered, "asked again until there was one"),
        ("unexpected", len(ledger.unexpected), ""),
        ("lost", len(verdict.lost), f"{len(ledger.contents):,} contents read back by their bytes"),
        ("doubled", len(verdict.doubled), f"{verdict.entries:,} log entries, all there after {verdict.waited:.1f} s"),
        ("out of order", len(verdict.out_of_order), ""),
    ]
    say_counts(rows)
    say("Longest time without an acknowledged write that began while a fault of this kind was on")
    for kind, (count, seconds) in sorted(outcome.outages.items()):
        say(f"  {kind:<22} {count:>3} times {seconds:8.2f} s")
    for example in (*verdict.lost[:5], *verdict.doubled[:5], *verdict.out_of_order[:5], *ledger.unexpected[:5]):
        say(f"  ! {example}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--planted", default="", choices=["", *planted_bugs()])
    arguments = parser.parse_args()
    storm = Storm(arguments.seconds, SERVICES, Times(), arguments.seed, arguments.planted)
    outcome = uvloop.run(run(storm))
    report(outcome)
    if outcome.ledger.acknowledged < ENOUGH:
        say(f"only {outcome.ledger.acknowledged} writes were acknowledged: too few to prove anything")
        return 2
    say("Nothing was lost." if outcome.clean else "SOMETHING IS WRONG.")
    return 0 if outcome.clean else 1


if __name__ == "__main__":
    sys.exit(main())
