"""Events between services: the envelope, the outbox and its relay, the inbox and its consumers, the bus port.

Adapters are imported where one is chosen (`common.platform`), so that no process loads another's client library.
"""

from common.messaging.bus import Bus, BusUnavailableError, DeadLetter, Delivery, UnroutableError, Verdict
from common.messaging.consumer import Consumer, Inbox, Subscriber
from common.messaging.envelope import Envelope, Event, UnreadableEventError, read
from common.messaging.outbox import Relay, headers, record

__all__ = [
    "Bus",
    "BusUnavailableError",
    "Consumer",
    "DeadLetter",
    "Delivery",
    "Envelope",
    "Event",
    "Inbox",
    "Relay",
    "Subscriber",
    "UnreadableEventError",
    "UnroutableError",
    "Verdict",
    "headers",
    "read",
    "record",
]
