"""`make bench table=collab`: live co-editing beside Hocuspocus, y-websocket's server and pycrdt-websocket.

One generator for all of them: real Yjs edits made ahead, latency from the sender's write to every other client's read,
afterwards a fresh client checks every character. Servers take turns in every round.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from deploy.bench.collab.edits import LongDocument, Script
from deploy.bench.collab.ours import Ours
from deploy.bench.collab.report import report
from deploy.bench.collab.scenarios import QUICK, QUICK_NAMES, Bench, Numbers, Scenario, Sizes, scenarios
from deploy.bench.collab.servers import Server, peers
from deploy.bench.collab.wire import Hocuspocus, YWebsocket
from deploy.bench.load import with_many_sockets
from deploy.bench.rest import say

QUICK_SERVERS = ("@", "pycrdt", "ours/y")


def main() -> None:
    every = list(scenarios(Sizes()))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: small sizes, some scenarios, one round")
    parser.add_argument("--rounds", type=int, default=0, help="default 3, quick 1")
    parser.add_argument("--scenarios", nargs="+", choices=every, metavar="NAME", help=", ".join(every))
    parser.add_argument("--servers", nargs="+", metavar="NAME", help="beginnings of their names; default all")
    parser.add_argument("--through-gateway", action="store_true", help="ours through nginx instead of directly")
    options = parser.parse_args()
    with_many_sockets(_bench(options))


async def _bench(options: argparse.Namespace) -> None:
    sizes = QUICK if options.quick else Sizes()
    rounds = options.rounds or (1 if options.quick else 3)
    names = options.scenarios or (QUICK_NAMES if options.quick else list(scenarios(sizes)))
    chosen = {name: scenario for name, scenario in scenarios(sizes).items() if name in names}
    servers = _servers(options)
    folder = Path(os.environ.get("MDC_STATE_DIR", ".state")).resolve() / "bench" / "collab"
    bench = Bench(sizes, Script(), cache(lambda: LongDocument(folder, sizes.long)))
    found: dict[tuple[str, str], list[Numbers | str]] = defaultdict(list)
    try:
        for turn in range(rounds):
            for name, scenario in chosen.items():
                for server in servers:
                    say(f"round {turn + 1} of {rounds}: {name}, {server.name}")
                    found[name, server.name].append(await _once(server, scenario, bench))
    finally:
        for server in servers:
            await server.close()
    report(servers, chosen, found, rounds)


async def _once(server: Server, scenario: Scenario, bench: Bench) -> Numbers | str:
    """Its numbers; a server that fails does not end the comparison of the others."""
    try:
        return await scenario.work(server, bench)
    except (OSError, TimeoutError) as error:
        return f"{type(error).__name__} {error}"
    finally:
        await server.stop()


def _servers(options: argparse.Namespace) -> Sequence[Server]:
    known: list[Server] = [*peers()]
    known += [Ours(framing, through_gateway=options.through_gateway) for framing in (YWebsocket(), Hocuspocus())]
    wanted = options.servers or (QUICK_SERVERS if options.quick else None)
    chosen = [server for server in known if not wanted or server.name.startswith(tuple(wanted))]
    if not chosen:
        raise SystemExit(f"there are: {', '.join(server.name for server in known)}")
    return chosen
