"""Every SQL statement of sync, named as questions."""

from .devices import DeviceRepository
from .feed import FeedRepository
from .log import LogReader, LogWriter

__all__ = ["DeviceRepository", "FeedRepository", "LogReader", "LogWriter"]
