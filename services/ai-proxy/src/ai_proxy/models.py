"""Tables of schema `ai_proxy`."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from common.tables import add_access_projection, service_metadata


def _big(**options: Any) -> Any:
    return Field(sa_column=Column(BigInteger, **{"nullable": False, **options}))


def _count() -> Any:
    return _big(server_default=text("0"))


def _text(**options: Any) -> Any:
    return Field(sa_column=Column(Text, nullable=False, **options))


def _bytes() -> Any:
    return Field(sa_column=Column(LargeBinary, nullable=False))


def _time(**options: Any) -> Any:
    return Field(sa_column=Column(DateTime(timezone=True), nullable=False, **options))


def _now() -> Any:
    return _time(server_default=text("now()"))


class Table(SQLModel):
    """Base of this service's tables."""

    metadata = service_metadata("ai_proxy")


add_access_projection(Table.metadata)


class Budget(Table, table=True):
    """What may be spent in a scope, null: no limit; `enabled` false: no AI there; `models`: only these, null: all.

    `kind` is `user`, `member` (a user in one workspace), `workspace` or `document`; `place_id` the workspace, nil for
    `user`.
    """

    id: UUID = Field(primary_key=True)
    kind: str = _text()
    subject_id: UUID
    place_id: UUID
    enabled: bool
    models: list[str] | None = Field(sa_column=Column(ARRAY(Text)))
    day_tokens: int | None = _big(nullable=True)
    day_micro_usd: int | None = _big(nullable=True)
    month_tokens: int | None = _big(nullable=True)
    month_micro_usd: int | None = _big(nullable=True)
    version: int = _big()
    updated_by: UUID
    updated_at: datetime = _now()

    __table_args__ = (UniqueConstraint("kind", "subject_id", "place_id"),)


class WorkspaceModels(Table, table=True):
    """Models a workspace allows by its own settings, null: all; `version` is the workspace's when that was told."""

    __tablename__ = "workspace_models"

    workspace_id: UUID = Field(primary_key=True)
    models: list[str] | None = Field(sa_column=Column(ARRAY(Text)))
    version: int = _big()


class Counter(Table, table=True):
    """Spent and reserved in a scope and period (`day` or `month` from `starts_on`, UTC); spent = sum of `usage`."""

    kind: str = _text(primary_key=True)
    subject_id: UUID = Field(primary_key=True)
    place_id: UUID = Field(primary_key=True)
    period: str = _text(primary_key=True)
    starts_on: date = Field(sa_column=Column(Date, primary_key=True))
    spent_tokens: int = _count()
    spent_micro_usd: int = _count()
    reserved_tokens: int = _count()
    reserved_micro_usd: int = _count()
    calls: int = _count()

    __table_args__ = (CheckConstraint("reserved_tokens >= 0 AND reserved_micro_usd >= 0", name="amounts"),)


class Reservation(Table, table=True):
    """A call under way: what it may cost at most, counted on the counters of `day`.

    `input_tokens` is the estimate, `output_tokens` the most it may answer, `seen_tokens` about what it
    had of that at the last beat.
    """

    id: UUID = Field(primary_key=True)
    process_id: UUID
    user_id: UUID
    workspace_id: UUID | None
    document_id: UUID | None
    day: date
    provider: str = _text()
    model: str = _text()
    operation: str = _text()
    streamed: bool
    own_key: bool
    tokens: int = _big()
    micro_usd: int = _big()
    input_tokens: int = _big()
    output_tokens: int = _big()
    seen_tokens: int = _count()
    created_at: datetime = _now()


class Process(Table, table=True):
    """Who serves calls; whose lease has run out is dead, and its reservations are settled by others."""

    id: UUID = Field(primary_key=True)
    beat_at: datetime = _time()
    leased_until: datetime = _time()


class Meter(Table, table=True):
    """A user or workspace: calls under way, and tokens a user may still use this minute; less than none is waited off.

    `open` is the number of its rows in `reservation`, kept so that nobody has to count them.
    """

    subject_id: UUID = Field(primary_key=True)
    level: int = _big()
    at: datetime = _time()
    open: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("0")))

    __table_args__ = (CheckConstraint("open >= 0", name="open"),)


class Usage(Table, table=True):
    """One call that ended: never what was asked or answered."""

    id: UUID = Field(primary_key=True)
    at: datetime = _time()
    user_id: UUID
    workspace_id: UUID | None
    document_id: UUID | None
    provider: str = _text()
    model: str = _text()
    operation: str = _text()
    own_key: bool
    input_tokens: int = _big()
    cached_tokens: int = _big()
    output_tokens: int = _big()
    micro_usd: int = _big()
    outcome: str = _text()
    estimated: bool
    status: int | None
    first_byte_ms: int | None
    total_ms: int

    __table_args__ = (
        Index("ix_usage_user_id_at", "user_id", "at"),
        Index("ix_usage_workspace_id_at", "workspace_id", "at"),
        Index("ix_usage_at", "at", postgresql_using="brin"),
    )


class OwnKey(Table, table=True):
    """A provider's key of a user or workspace, encrypted; the data key is wrapped by one that lies elsewhere."""

    __tablename__ = "own_key"

    id: UUID = Field(primary_key=True)
    kind: str = _text()
    owner_id: UUID
    provider: str = _text()
    wrapped_key: bytes = _bytes()
    ciphertext: bytes = _bytes()
    last4: str = _text()
    version: int = _big()
    created_by: UUID
    created_at: datetime = _now()
    updated_at: datetime = _now()

    __table_args__ = (UniqueConstraint("kind", "owner_id", "provider"),)
