"""The port every event bus adapter implements: RabbitMQ here, SNS and SQS on AWS, memory in tests.

Delivery is at least once and in no promised order; one contract suite holds all adapters to that.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Protocol

from common.messaging.envelope import Envelope

RETRY_SECONDS: Final = (0.5, 2.0, 10.0, 30.0, 120.0)
"""Pause before the next delivery of an event whose consumer failed; after the last one it is a dead letter."""
CRASH_LIMIT: Final = 20
"""Deliveries that may end without any word from the consumer (a crash) before the broker gives up."""


class BusUnavailableError(Exception):
    """The broker cannot be reached, or the connection was lost: what was not confirmed has to be sent again."""


class UnroutableError(Exception):
    """Nobody has subscribed to this event yet: it must wait where it is, or it would be lost."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message handed to one consumer; `failures` counts its earlier deliveries that ended in a retry."""

    body: bytes
    failures: int
    handle: Any = field(repr=False, compare=False)
    """What the adapter needs to acknowledge it."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message its consumer gave up on."""

    body: bytes
    reason: str
    failures: int
    died_at: str
    """RFC 3339, or empty if the broker buried it without a note."""


class Verdict(Enum):
    """What becomes of a dead letter."""

    KEEP = "keep"
    REPLAY = "replay"
    DROP = "drop"


class Subscription(Protocol):
    """A consumer's open queue. Every method raises `BusUnavailableError` when the connection is lost."""

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for messages; at least one, at most `limit`."""

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Done with these for good."""

    async def retry(self, delivery: Delivery, after: float) -> None:
        """Deliver it again, with one failure more, in about `after` seconds (one of `RETRY_SECONDS`)."""

    async def bury(self, delivery: Delivery, reason: str) -> None:
        """Make it a dead letter."""


class Bus(Protocol):
    """A connection to the broker for the life of the process."""

    @property
    def connected(self) -> bool:
        """Whether the broker is reachable right now."""

    async def run(self) -> None:
        """Keep connected until cancelled."""

    async def publish(self, envelopes: Sequence[Envelope]) -> Sequence[Exception | None]:
        """Hand all over, in order; for each None once the broker has it safe, else why not.

        Raises `BusUnavailableError` if nothing is known of any of them.
        """

    def subscribe(self, queue: str, types: Sequence[str]) -> AbstractAsyncContextManager[Subscription]:
        """Open a durable queue that gets every event of these types (`*` in the end: any that begin so)."""

    async def sift(self, queue: str, judge: Callable[[DeadLetter], Verdict]) -> int:
        """Show every dead letter of the queue to `judge`, and do as it says; how many were shown."""
