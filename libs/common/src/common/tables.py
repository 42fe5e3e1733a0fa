"""SQLModel base of a service's tables, and the shared tables every schema has (as `install_shared` makes them)."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    Uuid,
    text,
)
from sqlalchemy import Table as CoreTable
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "%(table_name)s_pkey",
}


def service_metadata(schema: str) -> MetaData:
    """Metadata of one service's schema, shared tables included."""
    metadata = MetaData(schema=schema, naming_convention=NAMING)
    now = text("now()")
    event = [
        ("type", Text), ("aggregate_id", Uuid), ("aggregate_version", BigInteger), ("data", JSONB), ("headers", JSONB),
        ("occurred_at", DateTime(timezone=True)),
    ]  # fmt: skip
    CoreTable(
        "outbox",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("event_id", Uuid, nullable=False, unique=True),
        *(Column(name, kind, nullable=False) for name, kind in event),  # type: ignore[arg-type]
    )
    CoreTable(
        "outbox_sent",
        metadata,
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("event_id", Uuid, nullable=False),
        *(Column(name, kind, nullable=False) for name, kind in event),  # type: ignore[arg-type]
        Column("sent_at", DateTime(timezone=True), primary_key=True, server_default=now),
        Index("ix_outbox_sent_aggregate", "aggregate_id", "aggregate_version"),
    )
    CoreTable(
        "inbox",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("event_id", Uuid, primary_key=True),
        Column("processed_at", DateTime(timezone=True), nullable=False, server_default=now, index=True),
    )
    CoreTable(
        "idempotency",
        metadata,
        Column("user_id", Uuid, primary_key=True),
        *(Column(name, Text, primary_key=True) for name in ("method", "path", "key")),
        Column("request_hash", LargeBinary, nullable=False),
        Column("status", Integer),
        Column("headers", JSONB),
        Column("body", LargeBinary),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=now, index=True),
    )
    return metadata


def add_access_projection(metadata: MetaData) -> None:
    """A deciding service's projections (as `common.ddl` and `common.access.ddl` make them)."""
    CoreTable(
        "access_member",
        metadata,
        Column("user_id", Uuid, primary_key=True),
        Column("workspace_id", Uuid, primary_key=True),
        Column("role", Text, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("removed", Boolean, nullable=False),
    )
    CoreTable(
        "access_workspace",
        metadata,
        Column("workspace_id", Uuid, primary_key=True),
        Column("name", Text, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("removed", Boolean, nullable=False, server_default=text("false")),
    )
    CoreTable(
        "access_group",
        metadata,
        Column("group_id", Uuid, primary_key=True),
        Column("workspace_id", Uuid, nullable=False, index=True),
        Column("name", Text, nullable=False),
        Column("removed", Boolean, nullable=False),
        Column("version", BigInteger, nullable=False),
    )
    CoreTable(
        "access_group_member",
        metadata,
        Column("user_id", Uuid, primary_key=True),
        Column("group_id", Uuid, primary_key=True, index=True),
        Column("workspace_id", Uuid, nullable=False),
        Column("removed", Boolean, nullable=False),
        Column("version", BigInteger, nullable=False),
    )
    living = text("NOT removed")
    CoreTable(
        "access_root",
        metadata,
        Column("root_id", Uuid, primary_key=True),
        Column("workspace_id", Uuid, nullable=False),
        Column("kind", Text, nullable=False),
        Column("parent_id", Uuid, nullable=False),
        Column("inherits", Boolean, nullable=False),
        Column("removed", Boolean, nullable=False),
        Column("version", BigInteger, nullable=False),
        Index("ix_access_root_parent_id", "parent_id", postgresql_where=living),
        Index("ix_access_root_workspace_id", "workspace_id", postgresql_where=living),
    )
    CoreTable(
        "access_grant",
        metadata,
        Column("root_id", Uuid, primary_key=True),
        Column("principal_id", Uuid, primary_key=True, index=True),
        Column("kind", Text, nullable=False),
        Column("role", Text, nullable=False),
    )
    CoreTable(
        "access_user",
        metadata,
        Column("user_id", Uuid, primary_key=True),
        Column("display_name", Text, nullable=False),
        Column("version", BigInteger, nullable=False),
    )


__all__ = ["SQLModel", "add_access_projection", "service_metadata"]
