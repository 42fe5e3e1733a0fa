"""`make dlq`: events whose consumer gave up on them, listed, shown, replayed or dropped."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from common.messaging.adapters import open_bus
from common.messaging.bus import Bus, BusUnavailableError, DeadLetter, Verdict
from common.messaging.envelope import Envelope, UnreadableEventError
from common.revisions import SERVICES

CONNECT_SECONDS = 5.0
USAGE = "usage: make dlq [s=service] [do=list|show|replay|drop] [ID=event id, or all]"


def identity(letter: DeadLetter) -> str:
    """Id of the event inside, "unreadable" if there is none."""
    try:
        return str(Envelope.decode(letter.body).id)
    except UnreadableEventError:
        return "unreadable"


def describe(letter: DeadLetter) -> str:
    """One line: id, type and version, when and why."""
    try:
        event = Envelope.decode(letter.body)
        name = f"{event.type} v{event.version} of {event.aggregate_id}"
    except UnreadableEventError:
        name = f"{len(letter.body)} bytes that are no event"
    died = _readable(letter.died_at)
    return f"{identity(letter)}  {name}  died {died} after {letter.failures + 1} tries: {letter.reason}"


def _readable(died_at: str) -> str:
    try:
        return datetime.fromisoformat(died_at).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return died_at or "unknown time"


def body(letter: DeadLetter) -> str:
    """The whole event, readable."""
    try:
        return json.dumps(json.loads(letter.body), indent=2, ensure_ascii=False)
    except ValueError:
        return repr(letter.body)


async def run(bus: Bus, queues: Sequence[str], verb: str, wanted: str, say: Callable[[str], Any]) -> int:
    """Do `verb` with the dead letters of these queues whose event has the id `wanted` ("all": every one); how many."""
    done = 0
    for queue in queues:

        def judge(letter: DeadLetter, queue: str = queue) -> Verdict:
            nonlocal done
            if wanted not in ("all", identity(letter)):
                return Verdict.KEEP
            done += 1
            say(f"{queue}: {describe(letter)}")
            if verb == "show":
                say(body(letter))
            return {"replay": Verdict.REPLAY, "drop": Verdict.DROP}.get(verb, Verdict.KEEP)

        await bus.sift(queue, judge)
    return done


async def _connected(bus: Bus, arguments: tuple[Sequence[str], str, str]) -> int:
    connecting = asyncio.create_task(bus.run())
    try:
        for _ in range(round(CONNECT_SECONDS / 0.05)):
            if bus.connected:
                break
            await asyncio.sleep(0.05)
        return await run(bus, *arguments, lambda line: sys.stdout.write(f"{line}\n"))
    finally:
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)


def _bus(environment: Mapping[str, str]) -> Bus:
    return open_bus(
        environment.get("MDC_AMQP_URL"),
        environment.get("MDC_EVENTS_TOPIC_ARN"),
        environment.get("MDC_EVENTS_QUEUE_PREFIX", ""),
        environment.get("MDC_AWS_ENDPOINT_URL"),
    )


def main(arguments: Sequence[str]) -> int:
    """`dead_letters <service or ""> <verb or ""> <id or "">`; 1 if the event asked for is not there."""
    service, verb, wanted = (*arguments, "", "", "")[:3]
    verb = verb or "list"
    if (service and service not in SERVICES) or verb not in ("list", "show", "replay", "drop"):
        sys.stderr.write(f"{USAGE}\n")
        return 2
    if not wanted and verb != "list":
        sys.stderr.write(f"{verb} what? ID=event id, or ID=all\n{USAGE}\n")
        return 2
    queues = [service] if service else SERVICES
    try:
        done = asyncio.run(_connected(_bus(os.environ), (queues, verb, wanted or "all")))
    except BusUnavailableError:
        sys.stderr.write("the event bus is not reachable: make status\n")
        return 1
    past = {"list": "in all", "show": "shown", "replay": "replayed", "drop": "dropped"}[verb]
    sys.stdout.write(f"{done} dead letters {past}\n")
    return 0 if done or verb == "list" or wanted == "all" else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
