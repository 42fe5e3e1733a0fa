"""`python -m deploy.provider --port N`: serve until told to stop."""

import argparse
import asyncio
import signal

import uvloop

from deploy.provider import __doc__ as described
from deploy.provider.behaviour import Behaviour
from deploy.provider.server import HOST, running


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    default = Behaviour(first_byte_seconds=options.first_byte_seconds, piece_seconds=options.piece_seconds)
    async with running(options.port, host=options.host, default=default, keep=options.keep) as provider:
        print(f"development provider, not a model, on {provider.url}", flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=described, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=HOST, help="loopback unless you know better")
    parser.add_argument("--first-byte-seconds", type=float, default=0.0, help="of every answer without a set behaviour")
    parser.add_argument("--piece-seconds", type=float, default=0.0, help="between pieces of a stream")
    parser.add_argument("--keep", type=int, default=10_000, help="requests kept for /control/requests")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
