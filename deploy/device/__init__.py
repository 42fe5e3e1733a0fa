"""A client of sync as docs/sync.md describes it: for the demo, chaos, benches and tests; the model for others."""

from .client import Device
from .state import State
from .stores import MemoryStore, SqliteStore

__all__ = ["Device", "MemoryStore", "SqliteStore", "State"]
