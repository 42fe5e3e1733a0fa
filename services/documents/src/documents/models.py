"""Tables of schema `documents`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Column, DateTime, ForeignKeyConstraint, Index, LargeBinary, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from common.tables import add_access_projection, service_metadata

_NOW = text("now()")
_ACTIVE = text("trashed_at IS NULL")


def _time(**options: Any) -> Any:
    return Field(sa_column=Column(DateTime(timezone=True), **options))


class Table(SQLModel):
    """Base of this service's tables."""

    metadata = service_metadata("documents")


add_access_projection(Table.metadata)


class Body(Table, table=True):
    """Immutable Markdown bytes by (workspace, SHA-256): zstd here, or in the object store from 16 KiB on."""

    workspace_id: UUID = Field(primary_key=True)
    sha256: str = Field(sa_column=Column(Text, primary_key=True))
    size: int
    data: bytes | None = Field(sa_column=Column(LargeBinary))
    created_at: datetime = _time(nullable=False, server_default=_NOW)


class Document(Table, table=True):
    """Head of a document. `version` counts accepted changes, `content_version` is the last that changed bytes."""

    id: UUID = Field(primary_key=True)
    workspace_id: UUID
    access_root_id: UUID
    title: str = Field(sa_column=Column(Text(collation="und-x-icu"), nullable=False))
    language: str | None = Field(sa_column=Column(Text))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    content_version: int = Field(sa_column=Column(BigInteger, nullable=False))
    body_sha256: str = Field(sa_column=Column(Text, nullable=False))
    size: int
    field_versions: dict[str, int] = Field(sa_column=Column(JSONB, nullable=False))
    created_at: datetime = _time(nullable=False, server_default=_NOW)
    created_by: UUID
    updated_at: datetime = _time(nullable=False, server_default=_NOW)
    updated_by: UUID
    trashed_at: datetime | None = _time()
    trashed_by: UUID | None

    __table_args__ = (
        ForeignKeyConstraint(["workspace_id", "body_sha256"], ["documents.body.workspace_id", "documents.body.sha256"]),
        Index(
            "ix_document_updated", "workspace_id", text("updated_at DESC"), text("id DESC"), postgresql_where=_ACTIVE
        ),
        Index(
            "ix_document_created", "workspace_id", text("created_at DESC"), text("id DESC"), postgresql_where=_ACTIVE
        ),
        Index("ix_document_title", "workspace_id", "title", "id", postgresql_where=_ACTIVE),
        Index(
            "ix_document_trashed",
            "workspace_id",
            text("updated_at DESC"),
            text("id DESC"),
            postgresql_where=text("trashed_at IS NOT NULL"),
        ),
        Index("ix_document_access_root_id", "access_root_id"),
    )


class Version(Table, table=True):
    """One accepted content; numbered by the document version that made it. Every one stays a merge base."""

    document_id: UUID = Field(primary_key=True)
    n: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    workspace_id: UUID
    body_sha256: str = Field(sa_column=Column(Text, nullable=False))
    size: int
    title: str = Field(sa_column=Column(Text, nullable=False))
    author_id: UUID
    contributors: list[UUID] = Field(sa_column=Column(ARRAY(Uuid), nullable=False))
    origin: str = Field(sa_column=Column(Text, nullable=False))
    base_version: int | None = Field(sa_column=Column(BigInteger))
    merged: bool
    created_at: datetime = _time(nullable=False, server_default=_NOW)

    __table_args__ = (
        ForeignKeyConstraint(["document_id"], ["documents.document.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["workspace_id", "body_sha256"], ["documents.body.workspace_id", "documents.body.sha256"]),
        Index("ix_version_body", "workspace_id", "body_sha256"),
    )
