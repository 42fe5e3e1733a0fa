"""The verbs of sync."""

from .audit import AuditService
from .conflicts import ConflictService
from .devices import DeviceService
from .feed import Compared, FeedService, Told
from .hub import Hub, Lag, Waiter
from .log import GapService, LogService
from .meter import Meter
from .push import PushService
from .stream import StreamService

__all__ = [
    "AuditService",
    "Compared",
    "ConflictService",
    "DeviceService",
    "FeedService",
    "GapService",
    "Hub",
    "Lag",
    "LogService",
    "Meter",
    "PushService",
    "StreamService",
    "Told",
    "Waiter",
]  # fmt: skip
