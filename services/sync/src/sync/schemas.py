"""Response bodies."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from common.database import Row


class LogEntry(BaseModel):
    """One event. Actor, address and data are null once they have been erased."""

    seq: int
    event_id: UUID
    type: str
    entity_id: UUID
    version: int
    at: datetime
    recorded_at: datetime
    actor: UUID | None
    session_id: UUID | None
    client_ip: str | None
    auth_method: str | None
    data: dict[str, Any] | None
    hash: str


class LogPage(BaseModel):
    """Entries, newest first."""

    items: list[LogEntry]
    next_cursor: str | None


class Verification(BaseModel):
    """Whether every entry from `after` to `seq` is what was written. `complete`: nothing follows `seq`."""

    intact: bool
    complete: bool
    after: int
    seq: int
    hash: str
    erased: int
    broken_at: int | None


def entry(row: Row) -> dict[str, Any]:
    """A row as `LogEntry`."""
    personal = row["personal"] or {}
    return {
        "seq": row["seq"],
        "event_id": row["event_id"],
        "type": row["type"],
        "entity_id": row["aggregate_id"],
        "version": row["aggregate_version"],
        "at": row["occurred_at"],
        "recorded_at": row["recorded_at"],
        **{name: personal.get(name) for name in ("actor", "session_id", "client_ip", "auth_method", "data")},
        "hash": row["hash"].hex(),
    }
