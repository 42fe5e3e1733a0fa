"""`make bench table=ai`: the AI proxy beside LiteLLM's, Portkey's and the provider itself, in the same run.

One generator, one provider (the development provider, as a process of its own), one process for each proxy. They take
turns in every round. A chunk carries the time it was sent at, so that its way is measured, not the provider's pace.
"""

import argparse
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from deploy.bench.ai.measure import Numbers, check, memory, paced, throughput
from deploy.bench.ai.ours import Ours
from deploy.bench.ai.report import report
from deploy.bench.ai.servers import Direct, LiteLLM, Portkey, Server, Upstream
from deploy.bench.load import with_many_sockets
from deploy.bench.rest import say, wait_for

WARM_UP_AT_ONCE = 4
WARM_UP_SECONDS = 1.0
MOST_SAID = 160
FAILURES = (OSError, TimeoutError, EOFError, ValueError, ExceptionGroup)


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    streams: int = 60
    seconds: float = 5.0
    held: int = 500
    at_once: tuple[int, ...] = (1, 16, 64)
    rounds: int = 3


QUICK = Sizes(streams=6, seconds=0.5, held=20, at_once=(1, 4), rounds=1)
Scenario = Callable[[Server], Awaitable[Numbers]]


def scenarios(sizes: Sizes) -> dict[str, Scenario]:
    """By title; memory first, as long as the process holds nothing that earlier load left behind."""
    found: dict[str, Scenario] = {f"memory, {sizes.held} streams open": partial(memory, streams=sizes.held)}
    for at_once in (1, 16):
        found[f"paced, {at_once} at once"] = partial(paced, streams=sizes.streams, at_once=at_once)
    for streamed in (False, True):
        kind = "streamed" if streamed else "whole"
        for at_once in sizes.at_once:
            found[f"{kind}, {at_once} in flight"] = partial(
                throughput, at_once=at_once, seconds=sizes.seconds, streamed=streamed
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: small sizes, one round")
    parser.add_argument("--rounds", type=int, default=0, help=f"default {Sizes.rounds}")
    parser.add_argument("--servers", nargs="+", metavar="NAME", help="beginnings of their names; default all")
    parser.add_argument("--through-gateway", action="store_true", help="ours through nginx instead of directly")
    options = parser.parse_args()
    with_many_sockets(_bench(options))


async def _bench(options: argparse.Namespace) -> None:
    sizes = QUICK if options.quick else Sizes()
    rounds = options.rounds or sizes.rounds
    chosen = scenarios(sizes)
    ours = Ours(through_gateway=options.through_gateway)
    servers = _servers(ours, options.servers)
    found: dict[tuple[str, str], list[Numbers | str]] = defaultdict(list)
    upstream = Upstream()
    try:
        await wait_for(upstream.port)
        for turn in range(rounds):
            for server in servers:
                say(f"round {turn + 1} of {rounds}: {server.name}")
                await _once(server, chosen, upstream.port, found)
    finally:
        await ours.close()
        upstream.stop()
    report(servers, list(chosen), found, rounds)


async def _once(
    server: Server, chosen: dict[str, Scenario], provider: int, found: dict[tuple[str, str], list[Numbers | str]]
) -> None:
    """All its numbers of a round; a server that fails does not end the comparison of the others."""
    try:
        await server.start(provider)
        await check(server)
        for streamed in (False, True):
            await throughput(server, WARM_UP_AT_ONCE, WARM_UP_SECONDS, streamed=streamed)
    except FAILURES as error:
        for title in chosen:
            found[title, server.name].append(_why(error))
        await server.stop()
        return
    for title, scenario in chosen.items():
        try:
            found[title, server.name].append(await scenario(server))
        except FAILURES as error:
            say(f"  {title}: {_why(error)}")
            found[title, server.name].append(_why(error))
    await server.stop()


def _why(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__} {error}"[:MOST_SAID]


def _servers(ours: Ours, wanted: Sequence[str] | None) -> Sequence[Server]:
    known: list[Server] = [Direct(), ours, Portkey(), LiteLLM()]
    chosen = [server for server in known if not wanted or server.name.startswith(tuple(wanted))]
    if not chosen:
        raise SystemExit(f"there are: {', '.join(server.name for server in known)}")
    return chosen
