"""The tables: what is added to the provider's own times, requests a second with ratios, memory; and the aims."""

import statistics
from collections.abc import Mapping, Sequence

from deploy.bench.ai.measure import Numbers
from deploy.bench.ai.servers import Direct, LiteLLM, Portkey, Server
from deploy.bench.rest import machine

ADDED_AIM_MS = 3.0
LITELLM_AIM = 20.0
MEMORY_AIM_MB = 100.0

Rounds = Mapping[tuple[str, str], Sequence[Numbers | str]]
"""By scenario and server: numbers, or why there are none."""
Medians = Mapping[tuple[str, str], Numbers | str]


def report(servers: Sequence[Server], titles: Sequence[str], found: Rounds, rounds: int) -> None:
    """Print everything."""
    print(f"\n{machine()}\nmedians of {rounds} rounds in which the servers take turns\n")
    print("| server | with each request it |\n|---|---|")
    for server in servers:
        print(f"| {server.name} | {server.does} |")
    medians = {key: _median(values) for key, values in found.items()}
    names = [server.name for server in servers]
    for title in titles:
        if title.startswith("paced"):
            _paced(title, names, medians)
    for kind in ("whole", "streamed"):
        _throughput(kind, [title for title in titles if title.startswith(kind)], names, medians)
    _memory(next(title for title in titles if title.startswith("memory")), names, medians)
    _verdict(titles, names, medians)


def _median(rounds: Sequence[Numbers | str]) -> Numbers | str:
    """Of the rounds; one round without numbers is one too many."""
    numbers: list[Numbers] = []
    for one in rounds:
        if isinstance(one, str):
            return one
        numbers.append(one)
    return {name: statistics.median(one[name] for one in numbers) for name in numbers[0]}


def _rows(columns: Sequence[str]) -> None:
    print(f"| server | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")


def _paced(title: str, names: Sequence[str], medians: Medians) -> None:
    base = medians.get((title, Direct.name))
    print(f"\n{title}: ms to the first byte, and of a chunk's way from provider to client; in brackets what is added\n")
    columns = ("first p50", "first p95", "chunk p50", "chunk p95")
    _rows((*columns, "CPU ms a stream"))
    for name in names:
        numbers = medians[title, name]
        if isinstance(numbers, str):
            print(f"| {name} | failed: {numbers} |")
            continue
        cells = [f"{numbers[column]:.2f}{_added(numbers, base, column)}" for column in columns]
        print(f"| {name} | {' | '.join(cells)} | {numbers['CPU/stream']:.1f} |")


def _added(numbers: Numbers, base: Numbers | str | None, column: str) -> str:
    if not isinstance(base, dict) or numbers is base:
        return ""
    return f" ({numbers[column] - base[column]:+.2f})"


def _throughput(kind: str, titles: Sequence[str], names: Sequence[str], medians: Medians) -> None:
    print(f"\n{kind}: requests a second, CPU of the proxy (and of PostgreSQL) for each; ratios to LiteLLM, Portkey\n")
    _rows([title.partition(", ")[2] for title in titles])
    for name in names:
        cells = [_rate(medians, title, name) for title in titles]
        print(f"| {name} | {' | '.join(cells)} |")


def _rate(medians: Medians, title: str, name: str) -> str:
    numbers = medians[title, name]
    if isinstance(numbers, str):
        return f"failed: {numbers}"
    rate, cpu, there = numbers["requests/s"], numbers["CPU ms"], numbers["PostgreSQL ms"]
    spent = f"{cpu:.2f} ms" + (f" + {there:.2f}" if there else "") if cpu else "-"
    ratios = [_ratio(rate, medians.get((title, peer.name))) for peer in (LiteLLM, Portkey) if peer.name != name]
    return f"{rate:,.0f}/s, {spent} ({', '.join(ratios)})"


def _ratio(rate: float, peer: Numbers | str | None) -> str:
    return f"{rate / peer['requests/s']:.1f}x" if isinstance(peer, dict) else "-"


def _memory(title: str, names: Sequence[str], medians: Medians) -> None:
    print(f"\n{title}\n")
    columns = ("idle MB", "open MB", "KB/stream")
    _rows(columns)
    for name in names:
        numbers = medians[title, name]
        if isinstance(numbers, str):
            print(f"| {name} | failed: {numbers} |")
        elif numbers["open MB"]:
            print(f"| {name} | {' | '.join(f'{numbers[column]:.1f}' for column in columns)} |")


def _verdict(titles: Sequence[str], names: Sequence[str], medians: Medians) -> None:
    """Ours against the aims."""
    print(
        f"\naims: added p50 < {ADDED_AIM_MS:g} ms, >= {LITELLM_AIM:g}x LiteLLM's requests a second, ahead of Portkey,"
        f" open streams take < {MEMORY_AIM_MB:g} MB\n"
    )
    for name in (name for name in names if name.startswith("ours")):
        misses = [miss for title in titles if (miss := _miss(title, name, medians))]
        print(f"{name}: {'fail, ' + '; '.join(misses) if misses else 'pass'}")


def _miss(title: str, name: str, medians: Medians) -> str | None:
    numbers = medians[title, name]
    if isinstance(numbers, str):
        return f"{title}: {numbers}"
    base = medians.get((title, Direct.name))
    if title.startswith("paced") and isinstance(base, dict):
        added = max(numbers[column] - base[column] for column in ("first p50", "chunk p50"))
        return f"{title}: {added:.2f} ms added" if added >= ADDED_AIM_MS else None
    if title.startswith("memory"):
        more = numbers["open MB"] - numbers["idle MB"]
        return f"{title}: {more:.0f} MB more" if more >= MEMORY_AIM_MB else None
    return _behind(title, numbers, medians)


def _behind(title: str, numbers: Numbers, medians: Medians) -> str | None:
    for peer, times in ((LiteLLM, LITELLM_AIM), (Portkey, 1.0)):
        other = medians.get((title, peer.name))
        if isinstance(other, dict) and numbers.get("requests/s", 0.0) < times * other["requests/s"]:
            return f"{title}: {numbers['requests/s'] / other['requests/s']:.1f}x {peer.name}"
    return None
