"""Tables of schema `auth_gateway`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Text,
    text,
)
from sqlmodel import Field, SQLModel

from common.tables import service_metadata

_NOW = text("now()")


def _text(**options: Any) -> Any:
    return Field(sa_column=Column(Text, **{"nullable": False, **options}))


def _time(**options: Any) -> Any:
    return Field(sa_column=Column(DateTime(timezone=True), **{"nullable": False, **options}))


def _version() -> Any:
    return Field(sa_column=Column(BigInteger, nullable=False))


def _no() -> Any:
    return Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))


class Table(SQLModel):
    """Base of this service's tables."""

    metadata = service_metadata("auth_gateway")


class Account(Table, table=True):
    """A person. `email` is kept in lower case."""

    id: UUID = Field(primary_key=True)
    email: str = _text(unique=True)
    display_name: str = _text()
    password_hash: str = _text()
    email_verified_at: datetime | None = _time(nullable=True)
    version: int = _version()
    created_at: datetime = _time(server_default=_NOW)


class Session(Table, table=True):
    """A signed-in device and its refresh family.

    Of its tokens only hash and generation of the current one are kept, and when the last ones were replaced.
    """

    id: UUID = Field(primary_key=True)
    user_id: UUID = Field(index=True)
    device_id: UUID | None
    device_name: str | None = _text(nullable=True)
    client_ip: str | None = _text(nullable=True)
    amr: str = _text()
    generation: int = Field(sa_column=Column(BigInteger, nullable=False))
    refresh_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    replaced_at: list[datetime] = Field(
        sa_column=Column(ARRAY(DateTime(timezone=True)), nullable=False, server_default=text("'{}'"))
    )
    created_at: datetime = _time(server_default=_NOW)
    last_used_at: datetime = _time(server_default=_NOW)
    expires_at: datetime = _time()
    ended_at: datetime | None = _time(nullable=True)

    __table_args__ = (ForeignKeyConstraint(["user_id"], ["auth_gateway.account.id"], ondelete="CASCADE"),)


class EmailToken(Table, table=True):
    """A mailed verification link, by the hash of its secret."""

    __tablename__ = "email_token"

    token_hash: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    user_id: UUID
    email: str = _text()
    expires_at: datetime = _time()

    __table_args__ = (ForeignKeyConstraint(["user_id"], ["auth_gateway.account.id"], ondelete="CASCADE"),)


class Workspace(Table, table=True):
    """The root of documents, files and rights; a deleted one can be restored for some time."""

    id: UUID = Field(primary_key=True)
    name: str = _text()
    version: int = _version()
    created_by: UUID
    created_at: datetime = _time(server_default=_NOW)
    updated_at: datetime = _time(server_default=_NOW)
    allowed_domains: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default=text("'{}'")))
    trash_days: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("30")))
    mfa_required: bool = _no()
    ai_models: list[str] | None = Field(sa_column=Column(ARRAY(Text)))
    deleted_at: datetime | None = _time(nullable=True)

    __table_args__ = (Index("ix_workspace_allowed_domains", "allowed_domains", postgresql_using="gin"),)


class Member(Table, table=True):
    """A membership; an ended one stays as a tombstone, so that its version keeps rising.

    A suspended one grants nothing either, so it is `removed` too.
    """

    workspace_id: UUID = Field(primary_key=True)
    user_id: UUID = Field(primary_key=True)
    role: str = _text()
    version: int = _version()
    removed: bool
    joined_at: datetime = _time(server_default=_NOW)
    updated_at: datetime = _time(server_default=_NOW)
    suspended: bool = _no()

    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["auth_gateway.workspace.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["user_id"], ["auth_gateway.account.id"], ondelete="CASCADE"),
        Index("ix_member_user_id", "user_id"),
    )


class UserGroup(Table, table=True):
    """Members and guests of a workspace under one name; its version counts every change of name and members."""

    __tablename__ = "user_group"

    id: UUID = Field(primary_key=True)
    workspace_id: UUID
    name: str = Field(sa_column=Column(Text(collation="und-x-icu"), nullable=False))
    version: int = _version()
    removed: bool = _no()
    created_at: datetime = _time(server_default=_NOW)
    updated_at: datetime = _time(server_default=_NOW)

    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["auth_gateway.workspace.id"], ondelete="CASCADE"),
        Index(
            "uq_user_group_name",
            "workspace_id",
            text("lower(name)"),
            unique=True,
            postgresql_where=text("NOT removed"),
        ),
    )


class GroupMember(Table, table=True):
    """Who is in a group, as of which version of it; who was in it stays as a tombstone."""

    __tablename__ = "group_member"

    group_id: UUID = Field(primary_key=True)
    user_id: UUID = Field(primary_key=True)
    workspace_id: UUID
    removed: bool
    version: int = _version()

    __table_args__ = (
        ForeignKeyConstraint(["group_id"], ["auth_gateway.user_group.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["user_id"], ["auth_gateway.account.id"], ondelete="CASCADE"),
        Index("ix_group_member_user_id", "user_id", "workspace_id"),
    )


class Invitation(Table, table=True):
    """An offer of membership, by the hash of its mailed secret."""

    id: UUID = Field(primary_key=True)
    workspace_id: UUID
    email: str = _text()
    role: str = _text()
    token_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False, unique=True))
    invited_by: UUID
    created_at: datetime = _time(server_default=_NOW)
    expires_at: datetime = _time()
    accepted_at: datetime | None = _time(nullable=True)
    accepted_by: UUID | None
    revoked_at: datetime | None = _time(nullable=True)

    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["auth_gateway.workspace.id"], ondelete="CASCADE"),
        Index("ix_invitation_workspace_id", "workspace_id", "created_at"),
    )


class Revocation(Table, table=True):
    """What every replica must refuse until it expires (see `common.auth.Revocations`)."""

    entry: str = _text(primary_key=True)
    expires_at: datetime = _time()
    written_at: datetime = _time(server_default=_NOW, index=True)
