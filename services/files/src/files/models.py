"""Tables of schema `files`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
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
    return Field(sa_column=Column(BigInteger, nullable=False, **options))


def _text() -> Any:
    return Field(sa_column=Column(Text, nullable=False))


def _hash(**options: Any) -> Any:
    return Field(sa_column=Column(LargeBinary, nullable=False, **options))


def _time(**options: Any) -> Any:
    return Field(sa_column=Column(DateTime(timezone=True), **options))


def _now() -> Any:
    return _time(nullable=False, server_default=text("now()"))


class Table(SQLModel):
    """Base of this service's tables."""

    metadata = service_metadata("files")


add_access_projection(Table.metadata)


class Document(Table, table=True):
    """Where a document lies that something is attached to, as its owner told last."""

    id: UUID = Field(primary_key=True)
    workspace_id: UUID
    access_root_id: UUID
    version: int = _big()
    trashed: bool


class Blob(Table, table=True):
    """Verified bytes, once per workspace, and what was found in them.

    `state` is `scanning`, `ready` or `rejected`; `due_at` when it is examined (next), null: done. `unused_at`: since
    when no file has them. `problem` says why it was rejected, or what could not be made of it.
    """

    workspace_id: UUID = Field(primary_key=True)
    sha256: bytes = _hash(primary_key=True)
    object_key: str = _text()
    size: int = _big()
    media_type: str = _text()
    state: str = _text()
    problem: str | None = Field(sa_column=Column(Text))
    width: int | None
    height: int | None
    pages: int | None
    tokens: int | None
    thumbnails: list[int] = Field(sa_column=Column(ARRAY(Integer), nullable=False, server_default=text("'{}'")))
    attempts: int = Field(sa_column_kwargs={"server_default": text("0")})
    due_at: datetime | None = _time()
    unused_at: datetime | None = _time()
    created_at: datetime = _now()

    __table_args__ = (
        Index("ix_blob_object_key", "object_key"),
        Index("ix_blob_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_blob_unused_at", "unused_at", postgresql_where=text("unused_at IS NOT NULL")),
    )


class Page(Table, table=True):
    """Text of one page of a blob; `number` from 1."""

    workspace_id: UUID = Field(primary_key=True)
    sha256: bytes = _hash(primary_key=True)
    number: int = Field(primary_key=True)
    content: str = _text()
    tokens: int

    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "sha256"], ["files.blob.workspace_id", "files.blob.sha256"], onupdate="CASCADE",
            ondelete="CASCADE",
        ),
    )  # fmt: skip


class File(Table, table=True):
    """A named file. A `loose` one is the workspace's, any other is read where a document it is attached to is read.

    `orphaned_at`: since when it is attached to nothing, if it is not loose.
    """

    id: UUID = Field(primary_key=True)
    workspace_id: UUID
    sha256: bytes = _hash()
    name: str = _text()
    loose: bool
    owner_id: UUID
    version: int = _big(server_default=text("1"))
    orphaned_at: datetime | None = _time()
    created_at: datetime = _now()
    updated_at: datetime = _now()

    __table_args__ = (
        ForeignKeyConstraint(["workspace_id", "sha256"], ["files.blob.workspace_id", "files.blob.sha256"]),
        Index("ix_file_workspace_id_sha256", "workspace_id", "sha256"),
        Index("ix_file_workspace_id_created_at_id", "workspace_id", "created_at", "id"),
        Index("ix_file_orphaned_at", "orphaned_at", postgresql_where=text("orphaned_at IS NOT NULL")),
    )


class Attachment(Table, table=True):
    """A file at a document."""

    id: UUID = Field(primary_key=True)
    file_id: UUID
    document_id: UUID = Field(index=True)
    created_by: UUID
    created_at: datetime = _now()

    __table_args__ = (
        UniqueConstraint("file_id", "document_id"),
        ForeignKeyConstraint(["file_id"], ["files.file.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["document_id"], ["files.document.id"], ondelete="CASCADE"),
    )


class Upload(Table, table=True):
    """Bytes on their way; its `size` is reserved until it is over.

    `state` is `open`, `verifying` (by the holder of `lease`), `completed`, `failed`, `aborted` or `expired`.
    """

    id: UUID = Field(primary_key=True)
    file_id: UUID
    workspace_id: UUID
    document_id: UUID | None
    user_id: UUID
    name: str = _text()
    media_type: str = _text()
    size: int = _big()
    sha256: bytes = _hash()
    object_key: str = _text()
    store_upload: str | None = Field(sa_column=Column(Text))
    part_size: int = _big()
    state: str = _text()
    problem: str | None = Field(sa_column=Column(Text))
    lease: UUID | None
    leased_until: datetime | None = _time()
    expires_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, index=True))
    created_at: datetime = _now()

    __table_args__ = (Index("ix_upload_object_key", "object_key"),)


class Garbage(Table, table=True):
    """An object, or what came of an upload, to be removed (again) at `due_at`."""

    object_key: str = Field(sa_column=Column(Text, primary_key=True))
    store_upload: str | None = Field(sa_column=Column(Text))
    thumbnails: list[int] = Field(sa_column=Column(ARRAY(Integer), nullable=False, server_default=text("'{}'")))
    due_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, index=True))


class Quota(Table, table=True):
    """Bytes a workspace stores, and those its uploads may become."""

    workspace_id: UUID = Field(primary_key=True)
    used: int = _big(server_default=text("0"))
    reserved: int = _big(server_default=text("0"))

    __table_args__ = (CheckConstraint("used >= 0 AND reserved >= 0", name="amounts"),)


class ContextFile(Table, table=True):
    """A file the AI reads along: for one user, a document, or (neither) a workspace."""

    __tablename__ = "context_file"

    id: UUID = Field(primary_key=True)
    file_id: UUID
    workspace_id: UUID = Field(index=True)
    document_id: UUID | None
    user_id: UUID | None
    created_by: UUID
    created_at: datetime = _now()

    __table_args__ = (
        ForeignKeyConstraint(["file_id"], ["files.file.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["document_id"], ["files.document.id"], ondelete="CASCADE"),
    )
