"""Request and response bodies."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, EmailStr, Field, StringConstraints

from common.access import Role
from common.fields import Line, RequestBody

MAX_PASSWORD_LENGTH = 256


def _bare(address: Any) -> Any:
    if isinstance(address, str) and "<" in address:  # EmailStr would take "Ada <ada@example.org>" apart
        raise ValueError("must be an address without a name")
    return address


def _lower(address: str) -> str:
    return address.lower()


Email = Annotated[EmailStr, StringConstraints(max_length=254), BeforeValidator(_bare), AfterValidator(_lower)]
Password = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PASSWORD_LENGTH, pattern=r"^[^\x00]*$")]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[\x21-\x7e]+$")]


class Register(RequestBody):
    """A new account."""

    email: Email
    password: Password
    display_name: Line


class Login(RequestBody):
    """Address and password; the device names the session in the session list."""

    email: Email
    password: Password
    device_id: UUID | None = None
    device_name: Line | None = None


class RefreshToken(RequestBody):
    """The refresh token of the last answer."""

    refresh_token: Secret


class VerifyEmail(RequestBody):
    """The token of the mailed link."""

    token: Secret


class UserUpdate(RequestBody):
    """Profile fields to change."""

    display_name: Line


class WorkspaceCreate(RequestBody):
    """A new workspace; its creator becomes the owner."""

    name: Line


class WorkspaceUpdate(RequestBody):
    """Workspace fields to change."""

    name: Line


class MemberUpdate(RequestBody):
    """A member's new role."""

    role: Role


class InvitationCreate(RequestBody):
    """Whom to invite, as what."""

    email: Email
    role: Role = Role.EDITOR


class UserRead(BaseModel):
    """The caller's own account."""

    id: UUID
    email: str
    display_name: str
    email_verified: bool
    created_at: datetime


class ProfileRead(BaseModel):
    """Somebody the caller shares a workspace with."""

    id: UUID
    display_name: str


class Registered(BaseModel):
    """The account, and whether a verification mail is on its way; without `user` in enumeration-safe mode."""

    user: UserRead | None = None
    verification: Literal["sent", "not_required"]


class Tokens(BaseModel):
    """Access token, and the refresh token that gets the next one."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the scheme (RFC 6750), not a secret
    expires_in: int = Field(description="Seconds")
    refresh_token: str
    user: UserRead


class SessionRead(BaseModel):
    """One signed-in device."""

    id: UUID
    device_id: UUID | None
    device_name: str | None
    client_ip: str | None
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    current: bool


class SessionList(BaseModel):
    """All living sessions of the caller."""

    items: list[SessionRead]
    next_cursor: None = None


class WorkspaceRead(BaseModel):
    """A workspace as the caller sees it."""

    id: UUID
    name: str
    version: int
    role: Role
    abilities: dict[str, bool]
    created_at: datetime
    updated_at: datetime


class WorkspacePage(BaseModel):
    """A page of the caller's workspaces."""

    items: list[WorkspaceRead]
    next_cursor: str | None


class MemberRead(BaseModel):
    """A member of a workspace."""

    user_id: UUID
    email: str
    display_name: str
    role: Role
    joined_at: datetime


class MemberPage(BaseModel):
    """A page of members."""

    items: list[MemberRead]
    next_cursor: str | None


class InvitationRead(BaseModel):
    """An invitation as the workspace's admins see it; its token is only in the mail."""

    id: UUID
    workspace_id: UUID
    email: str
    role: Role
    invited_by: UUID
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    revoked_at: datetime | None


class InvitationPage(BaseModel):
    """A page of invitations."""

    items: list[InvitationRead]
    next_cursor: str | None


class InvitationPreview(BaseModel):
    """What somebody with the mailed link may see before signing in."""

    workspace_id: UUID
    workspace_name: str
    email: str
    role: Role
    invited_by: str
    expires_at: datetime
