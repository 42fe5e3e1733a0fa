"""Tables of schema `sync`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Computed, DateTime, Index, LargeBinary, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from common.tables import add_access_projection, service_metadata


def _text(**options: Any) -> Any:
    return Field(sa_column=Column(Text, **options))


def _number(**options: Any) -> Any:
    return Field(sa_column=Column(BigInteger, autoincrement=False, nullable=False, **options))


def _time(**options: Any) -> Any:
    return Field(sa_column=Column(DateTime(timezone=True), nullable=False, **options))


def _bytes() -> Any:
    return Field(sa_column=Column(LargeBinary, nullable=False))


class Table(SQLModel):
    """Base of this service's tables."""

    metadata = service_metadata("sync")


add_access_projection(Table.metadata)


class Scope(Table, table=True):
    """What is shared as a whole: an access root or a user's own; its last sequence number and hash."""

    kind: str = _text(primary_key=True)
    id: UUID = Field(primary_key=True)
    seq: int = _number()
    hash: bytes = _bytes()


class SyncLog(Table, table=True):
    """One event in one scope; append-only. What is personal lies beside it and is only committed to here."""

    __tablename__ = "sync_log"
    scope_kind: str = _text(primary_key=True)
    scope_id: UUID = Field(primary_key=True)
    seq: int = _number(primary_key=True)
    recorded_at: datetime = _time(primary_key=True)
    event_id: UUID
    type: str = _text(nullable=False)
    aggregate_id: UUID
    aggregate_version: int = _number()
    occurred_at: datetime = _time()
    commitment: bytes = _bytes()
    hash: bytes = _bytes()

    __table_args__ = (Index("ix_sync_log_aggregate", "scope_kind", "scope_id", "aggregate_id", "seq"),)


class SyncLogDetail(Table, table=True):
    """Who did it from where, and the event's data: may be erased without breaking the chain."""

    __tablename__ = "sync_log_detail"
    scope_kind: str = _text(primary_key=True)
    scope_id: UUID = Field(primary_key=True)
    seq: int = _number(primary_key=True)
    recorded_at: datetime = _time(primary_key=True)
    salt: bytes = _bytes()
    personal: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    actor: UUID | None = Field(sa_column=Column(Uuid, Computed("((personal ->> 'actor'::text))::uuid")))

    __table_args__ = (Index("ix_sync_log_detail_actor", "scope_kind", "scope_id", "actor", "seq"),)


class Item(Table, table=True):
    """Head of an entity: document, member, workspace."""

    entity: str = _text(primary_key=True)
    id: UUID = Field(primary_key=True)
    root_id: UUID
    version: int = _number()
    content_hash: str | None = _text()
    size: int | None = Field(sa_column=Column(BigInteger))
    title: str | None = _text()
    removed: bool
    data: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    changed_at: datetime = _time()

    __table_args__ = (Index("ix_item_root_id", "root_id", "entity", "id"),)


class Aggregate(Table, table=True):
    """How far the log has got with what a producer tells about one aggregate."""

    id: UUID = Field(primary_key=True)
    producer: str = _text(nullable=False)
    version: int = _number()


class Parked(Table, table=True):
    """An event that came before an earlier one of its aggregate."""

    aggregate_id: UUID = Field(primary_key=True)
    version: int = _number(primary_key=True)
    envelope: bytes = _bytes()
    parked_at: datetime = _time(server_default=text("now()"))
