"""What a run of the demo has shown, as text."""

from collections import Counter

from deploy.client import Timings
from deploy.demonstration.ledger import Ledger
from deploy.demonstration.tree import Tree
from deploy.progress import say

SHOWN = 50


def print_skipped(found: Tree) -> None:
    """Name every file that did not become a document."""
    for name, reason in found.skipped[:SHOWN]:
        say(f"  skipped          {name}: {reason}")
    if len(found.skipped) > SHOWN:
        say(f"  skipped          … and {len(found.skipped) - SHOWN:,} more")
    if found.left_out:
        say(f"  left out         {found.left_out:,} files more than this demo takes (DEMO_DOCUMENTS={found.limit})")
    if found.unentered:
        say(f"  not entered      {found.unentered:,} hidden folders or node_modules")


def print_report(ledger: Ledger, found: Tree, timings: Timings, seconds: float) -> int:
    """Numbers, then the verdict; the exit code."""
    print_skipped(found)
    stored = sum(len(content) for document in ledger.documents for content in document.contents.values())
    say()
    say(f"documents  {len(ledger.documents):>9,}    bytes imported  {found.size:>13,}")
    versions = sum(len(document.contents) for document in ledger.documents)
    say(f"versions   {versions:>9,}    bytes accepted  {stored:>13,}")
    say(f"merges     {ledger.merges:>9,}    conflicts       {ledger.conflicts:>13,}  (refused with 412, then redone)")
    say()
    say(f"{'call':<22}{'calls':>8}{'p50 ms':>10}{'p95 ms':>10}")
    for kind, calls, middle, high in timings.rows():
        say(f"{kind:<22}{calls:>8,}{middle:>10.1f}{high:>10.1f}")
    say(f"{timings.calls:,} requests in {seconds:.1f} s: {timings.calls / seconds:,.0f} requests/s")
    if timings.throttled:
        say(f"{timings.throttled:,} answers were 429: waited as long as they asked, then done")
    say(f"one save, traced: make trace ID={ledger.trace_id}")
    say()
    return _print_verdict(ledger)


def _print_verdict(ledger: Ledger) -> int:
    if not ledger.wrong:
        say("All as it should be: every byte accepted is there, nothing refused was stored.")
        return 0
    say(f"NOT as it should be ({len(ledger.wrong):,} findings):")
    for text, times in list(Counter(ledger.wrong).items())[:SHOWN]:
        say(f"  {text}{f' ({times} times)' if times > 1 else ''}")
    if len(ledger.wrong) > SHOWN:
        say(f"  … {len(ledger.wrong):,} in all")
    return 1
