"""`python -m files.fsck`: is what the tables say in the store, and nothing else? In the service's own environment.

One line for each difference, then their number; exit code 0 without any, 1 with some, 2 if it could not be found out.
It may run while the service does: uploads, examinations and deletions that go on are no differences.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from common.errors import ServiceError

from .dependencies import inventory
from .service import GRACE_SECONDS


def main(arguments: Sequence[str]) -> int:
    """Look, and remove what nothing refers to if asked to."""
    given = _parser().parse_args(arguments)
    try:
        return asyncio.run(_run(given))
    except ServiceError as error:
        sys.stderr.write(f"not compared: {error.title} ({error})\n")
        return 2


async def _run(given: argparse.Namespace) -> int:
    async with inventory(given.grace) as stock:
        found = await stock.differences(hashed=given.hash)
        for one in found:
            _say(one)
        if given.sweep:
            _say(f"{await stock.sweep(found)} removed")
            found = await stock.differences()
        if stock.in_progress:
            _say(f"{stock.in_progress} without a row are younger than {given.grace:.0f} s: in progress")
    _say(f"{len(found)} difference{'' if len(found) == 1 else 's'}")
    return 1 if found else 0


def _say(line: object) -> None:
    sys.stdout.write(f"{line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="files.fsck", description="Compare the object store with the tables.")
    parser.add_argument("--hash", action="store_true", help="read every object and compare its SHA-256")
    parser.add_argument("--sweep", action="store_true", help="remove objects, parts and drafts nothing refers to")
    parser.add_argument(
        "--grace",
        type=float,
        default=GRACE_SECONDS,
        metavar="SECONDS",
        help="what is younger is in progress (default %(default).0f); sweep with less only while the service is down",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
