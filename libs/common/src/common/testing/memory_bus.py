"""An event bus in memory that misbehaves on demand, seeded: reorders, duplicates, delays, loses what was published."""

import asyncio
import heapq
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from common.messaging import BusUnavailableError, DeadLetter, Delivery, Envelope, UnroutableError, Verdict


@dataclass(frozen=True, slots=True)
class Knobs:
    """How it misbehaves: probabilities between 0 and 1 and seconds."""

    reorder: float = 0.0
    duplicate: float = 0.0
    drop: float = 0.0
    """Lost for ever although the publisher was told otherwise, which no real broker should do."""
    delay: float = 0.0
    """At most this long."""


@dataclass
class _Queue:
    patterns: tuple[str, ...]
    waiting: list[tuple[float, float, Delivery]] = field(default_factory=list)
    unacknowledged: dict[int, Delivery] = field(default_factory=dict)
    dead: list[DeadLetter] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def wants(self, type_: str) -> bool:
        return any(type_.startswith(p[:-1]) if p.endswith("*") else p == type_ for p in self.patterns)


class MemoryBus:
    """All queues of one process; keeps the bus contract, knobs aside."""

    def __init__(self, knobs: Knobs = Knobs(), seed: int = 0) -> None:
        self.knobs = knobs
        self._random = random.Random(seed)
        self._queues: dict[str, _Queue] = {}
        self._order = itertools.count()
        self.incarnation = 0
        self.connected = True

    @property
    def queues(self) -> set[str]:
        """Names of the queues there are."""
        return set(self._queues)

    @property
    def quiet(self) -> bool:
        """Whether nothing is on its way or being worked on."""
        return not any(queue.waiting or queue.unacknowledged for queue in self._queues.values())

    async def run(self) -> None:
        """Nothing to keep up."""
        await asyncio.Event().wait()

    def restart(self) -> None:
        """As a broker's restart: open subscriptions end, what was not acknowledged is delivered again."""
        self.incarnation += 1
        for queue in self._queues.values():
            queue.arrived.set()

    async def publish(self, envelopes: Sequence[Envelope]) -> Sequence[Exception | None]:
        """Into every queue that wants it."""
        return [self._publish(envelope) for envelope in envelopes]

    def _publish(self, envelope: Envelope) -> Exception | None:
        wanted = [queue for queue in self._queues.values() if queue.wants(envelope.type)]
        for queue in wanted:
            if self._chance(self.knobs.drop):
                continue
            for _ in range(1 + self._chance(self.knobs.duplicate)):
                self.put(queue, envelope.encode(), 0, self._random.uniform(0, self.knobs.delay))
        return None if wanted else UnroutableError("nobody has subscribed to this event")

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def put(self, queue: _Queue, body: bytes, failures: int, delay: float) -> None:
        """Line a message up."""
        number = next(self._order)
        place = self._random.uniform(0, number) if self._chance(self.knobs.reorder) else float(number)
        due = asyncio.get_running_loop().time() + delay
        heapq.heappush(queue.waiting, (due if delay else 0.0, place, Delivery(body, failures, number)))
        queue.arrived.set()

    @asynccontextmanager
    async def subscribe(self, queue: str, types: Sequence[str]) -> AsyncIterator["MemorySubscription"]:
        """Open a queue; what it had not acknowledged when it was closed comes again."""
        opened = self._queues.setdefault(queue, _Queue(tuple(types)))
        opened.patterns = tuple(types)
        subscription = MemorySubscription(self, opened, self.incarnation)
        try:
            yield subscription
        finally:
            for delivery in opened.unacknowledged.values():
                self.put(opened, delivery.body, delivery.failures, 0.0)
            opened.unacknowledged.clear()

    async def sift(self, queue: str, judge: Callable[[DeadLetter], Verdict]) -> int:
        """Judge every dead letter."""
        found = self._queues.get(queue)
        if found is None:
            return 0
        shown, found.dead = found.dead, []
        for letter in shown:
            verdict = judge(letter)
            if verdict is Verdict.KEEP:
                found.dead.append(letter)
            elif verdict is Verdict.REPLAY:
                self.put(found, letter.body, 0, 0.0)
        return len(shown)


class MemorySubscription:
    """One consumer of one queue."""

    def __init__(self, bus: MemoryBus, queue: _Queue, incarnation: int) -> None:
        self._bus = bus
        self._queue = queue
        self.incarnation = incarnation

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """What is due, after waiting for the first."""
        loop = asyncio.get_running_loop()
        while True:
            self._check()
            due = self._due(limit, loop.time())
            if due:
                self._queue.unacknowledged |= {delivery.handle: delivery for delivery in due}
                return due
            self._queue.arrived.clear()
            waiting = self._queue.waiting
            timeout = max(0.001, waiting[0][0] - loop.time()) if waiting else None
            try:
                async with asyncio.timeout(timeout):
                    await self._queue.arrived.wait()
            except TimeoutError:
                continue

    def _due(self, limit: int, now: float) -> list[Delivery]:
        waiting = self._queue.waiting
        found: list[Delivery] = []
        while waiting and waiting[0][0] <= now and len(found) < limit:
            found.append(heapq.heappop(waiting)[2])
        return found

    def _check(self) -> None:
        if self._bus.incarnation != self.incarnation:
            raise BusUnavailableError("the bus was restarted")

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Done with these."""
        self._check()
        for delivery in deliveries:
            self._queue.unacknowledged.pop(delivery.handle)

    async def retry(self, delivery: Delivery, after: float) -> None:
        """Again later."""
        await self.ack([delivery])
        self._bus.put(self._queue, delivery.body, delivery.failures + 1, after)

    async def bury(self, delivery: Delivery, reason: str) -> None:
        """A dead letter."""
        await self.ack([delivery])
        now = datetime.now(UTC).isoformat()
        self._queue.dead.append(DeadLetter(delivery.body, reason, delivery.failures, now))
