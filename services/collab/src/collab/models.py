"""Tables of schema `collab`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Column, DateTime, ForeignKeyConstraint, Index, LargeBinary, Text, Uuid, text
from sqlmodel import Field, SQLModel

from common.tables import add_access_projection, service_metadata

_NOW = text("now()")


def _big(**options: Any) -> Any:
    return Field(sa_column=Column(BigInteger, nullable=False, **options))


def _now() -> Any:
    return Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=_NOW))


class Table(SQLModel):
    """Base of this service's tables."""

    metadata = service_metadata("collab")


add_access_projection(Table.metadata)


class Document(Table, table=True):
    """A document that was opened live at least once, and where its live state stands against its versions.

    `content_version` is the last content version of documents that is in the live state; its text is that of
    `mark_state` or, without one, of the state at `exported_seq`. Edits up to `exported_seq` are in that version.
    `verbatim`: the engine does not encode its state as it was told it, so what was told is kept and served as it is.
    `newest_content` is the newest content version heard of, `version` the version of what is known of its place.
    """

    id: UUID = Field(primary_key=True)
    workspace_id: UUID = Field(index=True)
    access_root_id: UUID
    kind: str = Field(sa_column=Column(Text, nullable=False))
    version: int = _big()
    trashed: bool
    newest_content: int = _big()
    lineage: int = Field(sa_column_kwargs={"server_default": text("1")})
    schema_version: int
    seed_client: int = _big()
    retired_seeds: list[int] = Field(sa_column=Column(ARRAY(BigInteger), nullable=False, server_default=text("'{}'")))
    head_seq: int = _big(server_default=text("0"))
    snapshot_seq: int = _big(server_default=text("0"))
    content_version: int = _big()
    exported_seq: int = _big(server_default=text("0"))
    verbatim: bool = Field(sa_column_kwargs={"server_default": text("false")})
    mark_state: bytes | None = Field(sa_column=Column(LargeBinary))
    lease: UUID | None
    leased_until: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    changed_at: datetime = _now()

    __table_args__ = (Index("ix_document_unexported", "changed_at", postgresql_where=text("head_seq > exported_seq")),)


class UpdateLog(Table, table=True):
    """What was written, in the order of `seq`: one Yjs update of all that came in one group commit."""

    __tablename__ = "update_log"

    document_id: UUID = Field(primary_key=True)
    lineage: int = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    payload: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    actors: list[UUID] = Field(sa_column=Column(ARRAY(Uuid), nullable=False))
    origin: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = _now()

    __table_args__ = (ForeignKeyConstraint(["document_id"], ["collab.document.id"], ondelete="CASCADE"),)


class State(Table, table=True):
    """A whole state, zstd: what all updates up to `seq` make."""

    document_id: UUID = Field(primary_key=True)
    lineage: int = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    state: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    sha256: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = _now()

    __table_args__ = (ForeignKeyConstraint(["document_id"], ["collab.document.id"], ondelete="CASCADE"),)
