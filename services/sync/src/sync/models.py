"""Tables of schema `sync`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    Text,
    Uuid,
    text,
)
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
    """What is shared as a whole: an access root or a user's own; its last sequence number and hash.

    Beside them: how much it holds, the checksums of that, the number of the last removal that is forgotten.
    """

    kind: str = _text(primary_key=True)
    id: UUID = Field(primary_key=True)
    seq: int = _number()
    hash: bytes = _bytes()
    items: int = _number(server_default=text("0"))
    checksum: int = _number(server_default=text("0"))
    low_seq: int = _number(server_default=text("0"))


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
    """Head of an entity in a scope, under the number of its last change there; `gone`: it lies there no longer."""

    scope_kind: str = _text(primary_key=True)
    scope_id: UUID = Field(primary_key=True)
    entity: str = _text(primary_key=True)
    id: UUID = Field(primary_key=True)
    seq: int = _number()
    version: int = _number()
    gone: bool
    reason: str | None = _text()
    checksum: int = _number()
    content_hash: str | None = _text()
    size: int | None = Field(sa_column=Column(BigInteger))
    parent_id: UUID | None
    title: str | None = _text()
    data: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    actor: UUID | None
    device_id: UUID | None
    op_id: UUID | None
    changed_at: datetime = _time()

    __table_args__ = (
        Index("ix_item_seq", "scope_kind", "scope_id", "seq"),
        Index("ix_item_id", "id", postgresql_where=text("reason IS DISTINCT FROM 'moved'")),
        Index("ix_item_gone", "changed_at", postgresql_where=text("gone")),
        Index("ix_item_own_rules", "parent_id", postgresql_where=text("scope_id = id AND NOT gone")),
    )


class Device(Table, table=True):
    """An installation of a client; bound to a session. `last_n`: the last operation of its queue that was taken."""

    id: UUID = Field(primary_key=True)
    user_id: UUID = Field(index=True)
    session_id: UUID
    name: str = _text(nullable=False)
    platform: str = _text(nullable=False)
    app_version: str | None = _text()
    created_at: datetime = _time(server_default=text("now()"))
    seen_at: datetime = _time(server_default=text("now()"))
    removed_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    last_n: int = _number(server_default=text("0"))
    lease: UUID | None
    leased_until: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))


class Cursor(Table, table=True):
    """How far a device had got in each scope after one of its pulls: the one it has, and those made from it."""

    device_id: UUID = Field(primary_key=True)
    nonce: UUID = Field(primary_key=True)
    user_id: UUID
    generation: int = _number()
    positions: bytes = _bytes()
    used_at: datetime = _time(server_default=text("now()"), index=True)

    __table_args__ = (ForeignKeyConstraint(["device_id"], ["sync.device.id"], ondelete="CASCADE"),)


class Conflict(Table, table=True):
    """A document that holds what could not be merged into another one; settled once it is in the trash."""

    copy_id: UUID = Field(primary_key=True)
    document_id: UUID = Field(index=True)
    user_id: UUID
    device_id: UUID | None
    op_id: UUID | None
    created_at: datetime = _time()
    resolved_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    resolved_by: UUID | None
    choice: str | None = _text()


class Epoch(Table, table=True):
    """Which incarnation of the database this is: another one after a backup was restored."""

    one: bool = Field(sa_column=Column(Boolean, primary_key=True, server_default=text("true")))
    epoch: UUID
    began_at: datetime = _time(server_default=text("now()"))


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
