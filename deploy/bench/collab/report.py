"""The tables: a row for each server, each number with its ratio to the best Node peer (above 1 is better)."""

import math
import statistics
from collections.abc import Mapping, Sequence

from deploy.bench.collab.scenarios import Numbers, Scenario
from deploy.bench.collab.servers import Server
from deploy.bench.rest import machine

P95_AIM_MS = 50.0
P99_AIM_MS = 100.0
ACK_P99_AIM_MS = 50.0
SUMS = frozenset({"lost", "generator late", "own limit"})
PLAIN = SUMS | {"generator CPU %", "connections", "PostgreSQL µs/edit", "PostgreSQL CPU ms"}
"""Numbers that are not compared."""

Rounds = Mapping[tuple[str, str], Sequence[Numbers | str]]
"""By scenario and server: numbers, or why there are none."""


def report(servers: Sequence[Server], scenarios: Mapping[str, Scenario], found: Rounds, rounds: int) -> None:
    """Print everything."""
    print(f"\n{machine()}\nmedians of {rounds} interleaved rounds; in brackets the ratio to the best Node peer\n")
    print("| server | before others see an edit, it is |\n|---|---|")
    for server in servers:
        print(f"| {server.name} | {server.promise} |")
    verdicts: dict[str, list[str]] = {server.name: [] for server in servers}
    for name, scenario in scenarios.items():
        medians = {server.name: _median(found[name, server.name]) for server in servers}
        best = _best([medians[server.name] for server in servers if server.node], scenario)
        _table(scenario, medians, best)
        if scenario.judged:
            for server in servers:
                verdicts[server.name] += _misses(name, medians[server.name], ACK_P99_AIM_MS if server.durable else None)
    if any(scenario.judged for scenario in scenarios.values()):
        _verdict(verdicts)


def _median(rounds: Sequence[Numbers | str]) -> Numbers | str:
    """Of the rounds; what must not be adds up, and one round without numbers is one too many."""
    numbers: list[Numbers] = []
    for one in rounds:
        if isinstance(one, str):
            return one
        numbers.append(one)
    if not numbers:
        return "not measured"
    return {
        name: sum(one[name] for one in numbers) if name in SUMS
        else statistics.median(one[name] for one in numbers)
        for name in numbers[0]
    }  # fmt: skip


def _best(peers: Sequence[Numbers | str], scenario: Scenario) -> Numbers:
    best: Numbers = {}
    for peer in peers:
        if isinstance(peer, str):
            continue
        for name, value in peer.items():
            better = max if name in scenario.more else min
            best[name] = better(best.get(name, value), value)
    return best


def _table(scenario: Scenario, medians: Mapping[str, Numbers | str], best: Numbers) -> None:
    columns = next((list(numbers) for numbers in medians.values() if not isinstance(numbers, str)), [])
    print(f"\n{scenario.title}\n\n| server | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for server, numbers in medians.items():
        if isinstance(numbers, str):
            print(f"| {server} | failed: {numbers} |")
            continue
        cells = [_cell(column, numbers[column], best.get(column), column in scenario.more) for column in columns]
        print(f"| {server} | {' | '.join(cells)} |")


def _cell(name: str, value: float, best: float | None, more: bool) -> str:
    shown = (
        "∞" if math.isinf(value) else f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
    )
    if name in PLAIN or best is None or min(value, best) <= 0 or math.isinf(value):
        return shown
    return f"{shown} ({value / best if more else best / value:.2f})"


def _misses(name: str, numbers: Numbers | str, ack: float | None) -> list[str]:
    if isinstance(numbers, str):
        return [f"{name}: {numbers}"]
    found = []
    if numbers["p95 ms"] >= P95_AIM_MS:
        found.append(f"{name}: p95 {numbers['p95 ms']:.1f} ms")
    if numbers["p99 ms"] >= P99_AIM_MS:
        found.append(f"{name}: p99 {numbers['p99 ms']:.1f} ms")
    if ack and numbers["p99 ms"] >= ack:
        found.append(f"{name}: durable ack p99 {numbers['p99 ms']:.1f} ms")
    if numbers["lost"]:
        found.append(f"{name}: lost {numbers['lost']:.0f}")
    return found


def _verdict(verdicts: Mapping[str, Sequence[str]]) -> None:
    print(
        f"\naims while typing: WebSocket p95 < {P95_AIM_MS:g} ms, lag p99 < {P99_AIM_MS:g} ms, nothing lost;"
        f" if committed first, durable ack p99 < {ACK_P99_AIM_MS:g} ms (at most what the others see)\n"
    )
    for server, misses in verdicts.items():
        print(f"{server}: {'fail, ' + '; '.join(misses) if misses else 'pass'}")
