"""Documents, folders, their versions and bodies, and what is remembered of operations on them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Column, DateTime, ForeignKeyConstraint, Index, LargeBinary, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from .table import NOW, Table, moment

_ACTIVE = text("trashed_at IS NULL")
_TRASHED = text("trashed_at IS NOT NULL")


def _by_root(name: str, *columns: Any, where: Any) -> Index:
    return Index(name, "access_root_id", *columns, postgresql_where=where)


class Body(Table, table=True):
    """Immutable Markdown bytes by (workspace, SHA-256): zstd here, or in the object store from 16 KiB on."""

    workspace_id: UUID = Field(primary_key=True)
    sha256: str = Field(sa_column=Column(Text, primary_key=True))
    size: int
    data: bytes | None = Field(sa_column=Column(LargeBinary))
    created_at: datetime = moment(nullable=False, server_default=NOW)


class Document(Table, table=True):
    """Head of a document. `version` counts accepted changes, `content_version` is the last that changed bytes.

    `previous_content_version` is the one before that; until `held_until` only a live room's export changes them.
    """

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
    created_at: datetime = moment(nullable=False, server_default=NOW)
    created_by: UUID
    updated_at: datetime = moment(nullable=False, server_default=NOW)
    updated_by: UUID
    trashed_at: datetime | None = moment()
    trashed_by: UUID | None
    trashed_with: UUID | None
    folder_id: UUID | None
    position: str = Field(sa_column=Column(Text(collation="C"), nullable=False, server_default="a0"))
    previous_content_version: int | None = Field(sa_column=Column(BigInteger))
    held_until: datetime | None = moment()

    __table_args__ = (
        ForeignKeyConstraint(["workspace_id", "body_sha256"], ["documents.body.workspace_id", "documents.body.sha256"]),
        ForeignKeyConstraint(["folder_id"], ["documents.folder.id"]),
        _by_root("ix_document_updated", text("updated_at DESC"), text("id DESC"), where=_ACTIVE),
        _by_root("ix_document_created", text("created_at DESC"), text("id DESC"), where=_ACTIVE),
        _by_root("ix_document_title", "title", "id", where=_ACTIVE),
        _by_root("ix_document_position", "position", "id", where=text("trashed_at IS NULL AND folder_id IS NULL")),
        _by_root("ix_document_trashed", text("updated_at DESC"), text("id DESC"), where=_TRASHED),
        Index("ix_document_trashed_at", "trashed_at", postgresql_where=_TRASHED),
        Index("ix_document_trashed_with", "trashed_with", postgresql_where=text("trashed_with IS NOT NULL")),
        Index("ix_document_folder_id", "folder_id", "position", "id"),
    )


class Folder(Table, table=True):
    """A place for folders and documents. `position` orders siblings, `trashed_with` is what took it to the trash."""

    id: UUID = Field(primary_key=True)
    workspace_id: UUID
    access_root_id: UUID = Field(index=True)
    parent_id: UUID | None
    name: str = Field(sa_column=Column(Text(collation="und-x-icu"), nullable=False))
    position: str = Field(sa_column=Column(Text(collation="C"), nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    field_versions: dict[str, int] = Field(sa_column=Column(JSONB, nullable=False))
    created_at: datetime = moment(nullable=False, server_default=NOW)
    created_by: UUID
    updated_at: datetime = moment(nullable=False, server_default=NOW)
    updated_by: UUID
    trashed_at: datetime | None = moment()
    trashed_by: UUID | None
    trashed_with: UUID | None

    __table_args__ = (
        ForeignKeyConstraint(["parent_id"], ["documents.folder.id"]),
        Index("ix_folder_parent_id", "parent_id", "position", "id"),
        Index("ix_folder_workspace_id", "workspace_id", "position", "id"),
        Index("ix_folder_trashed_at", "trashed_at", postgresql_where=_TRASHED),
    )


class AccessRequest(Table, table=True):
    """Somebody's wish for a role at a folder or document, open until it is decided."""

    __tablename__ = "access_request"

    id: UUID = Field(primary_key=True)
    workspace_id: UUID
    node_id: UUID
    user_id: UUID
    role: str = Field(sa_column=Column(Text, nullable=False))
    message: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = moment(nullable=False, server_default=NOW)
    decided_at: datetime | None = moment()
    decided_by: UUID | None
    approved: bool | None

    __table_args__ = (
        Index("uq_access_request_open", "node_id", "user_id", unique=True, postgresql_where=text("decided_at IS NULL")),
    )


class Revocation(Table, table=True):
    """What this service has announced as lowered, until it expires (`common.revocations`)."""

    entry: str = Field(sa_column=Column(Text, primary_key=True))
    expires_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, index=True))
    written_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=NOW, index=True)
    )


class Version(Table, table=True):
    """One accepted content; numbered by the document version that made it. Every one stays a merge base.

    `lineage`, `seq`: what a live room's export says of its log.
    """

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
    created_at: datetime = moment(nullable=False, server_default=NOW)
    lineage: int | None = Field(sa_column=Column(BigInteger))
    seq: int | None = Field(sa_column=Column(BigInteger))

    __table_args__ = (
        ForeignKeyConstraint(["document_id"], ["documents.document.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["workspace_id", "body_sha256"], ["documents.body.workspace_id", "documents.body.sha256"]),
        Index("ix_version_body", "workspace_id", "body_sha256"),
    )


class Purged(Table, table=True):
    """Ids of what was deleted for good: a device that was away for long does not make it anew."""

    id: UUID = Field(primary_key=True)
    purged_at: datetime = moment(nullable=False, server_default=NOW)


class Garbage(Table, table=True):
    """Bodies that may have no version any more; `taken`: its row is gone, its object is being removed."""

    workspace_id: UUID = Field(primary_key=True)
    sha256: str = Field(sa_column=Column(Text, primary_key=True))
    taken: bool = Field(index=True, sa_column_kwargs={"server_default": text("false")})


class LiveExport(Table, table=True):
    """What a live room's export was answered, by its place in the room's log: a repeat is answered the same."""

    __tablename__ = "live_export"

    document_id: UUID = Field(primary_key=True)
    lineage: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    content_hash: str = Field(sa_column=Column(Text, nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    content_version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=NOW, index=True)
    )

    __table_args__ = (ForeignKeyConstraint(["document_id"], ["documents.document.id"], ondelete="CASCADE"),)


class OpResult(Table, table=True):
    """What became of a device's operation; `payload`: a text that did not become a version as it was sent."""

    __tablename__ = "op_result"

    user_id: UUID = Field(primary_key=True)
    op_id: UUID = Field(primary_key=True)
    device_id: UUID | None
    n: int = Field(sa_column=Column(BigInteger, nullable=False))
    request_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    entity_id: UUID | None
    status: str | None = Field(sa_column=Column(Text))
    result: dict[str, Any] | None = Field(sa_column=Column(JSONB))
    payload_hash: str | None = Field(sa_column=Column(Text))
    payload: bytes | None = Field(sa_column=Column(LargeBinary))
    created_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=NOW, index=True)
    )

    __table_args__ = (
        Index(
            "ix_op_result_payload", "user_id", "entity_id", "payload_hash", postgresql_where=text("payload IS NOT NULL")
        ),
    )
