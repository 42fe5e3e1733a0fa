"""Request and response bodies."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    EmailStr,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from common.access import Role
from common.fields import Line, RequestBody

MAX_PASSWORD_LENGTH = 256
MAX_GROUP_CHANGE = 10_000
PUBLIC_MAIL_DOMAINS = frozenset({
    "aol.com", "gmail.com", "gmx.de", "gmx.net", "googlemail.com", "hotmail.com", "icloud.com", "live.com", "mail.com",
    "mail.ru", "me.com", "msn.com", "outlook.com", "proton.me", "protonmail.com", "qq.com", "web.de", "yahoo.com",
    "yandex.ru", "zoho.com", "163.com",
})  # fmt: skip
"""Whoever asks gets an address there, so it says nothing about where somebody belongs."""


def _bare(address: Any) -> Any:
    if isinstance(address, str) and "<" in address:  # EmailStr would take "Ada <ada@example.org>" apart
        raise ValueError("must be an address without a name")
    return address


def _lower(address: str) -> str:
    return address.lower()


def _private(domain: str) -> str:
    if domain in PUBLIC_MAIL_DOMAINS:
        raise ValueError("must not be a public mail provider")
    return domain


_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
Domain = Annotated[
    str,
    StringConstraints(max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})+$"),
    AfterValidator(_lower),
    AfterValidator(_private),
]
Email = Annotated[EmailStr, StringConstraints(max_length=254), BeforeValidator(_bare), AfterValidator(_lower)]
Password = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PASSWORD_LENGTH, pattern=r"^[^\x00]*$")]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[\x21-\x7e]+$")]


class Register(RequestBody):
    """A new account."""

    email: Email
    password: Password
    display_name: Line
    invitation_token: Secret | None = None
    """Secret of an invitation mailed to this address: it proves the address, and the account joins at once."""


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
    """Name and settings to change; a field left out stays as it is."""

    name: Line = ""
    allowed_domains: Annotated[list[Domain], Field(max_length=20)] = []
    """Who has proven an address there may join; owners only."""
    trash_days: int = Field(default=30, ge=1, le=365)
    mfa_required: bool = False
    """Stored and shown; not enforced yet. Owners only."""
    ai_models: Annotated[list[Line], Field(max_length=50)] | None = None
    """Models that may be used here; null: all."""


class MemberUpdate(RequestBody):
    """A member's new role."""

    role: Role


class Transfer(RequestBody):
    """The member who becomes owner in the caller's place."""

    user_id: UUID


class InvitationCreate(RequestBody):
    """Whom to invite, as what, for how long."""

    email: Email
    role: Role = Role.EDITOR
    expires_in_days: int | None = Field(default=None, ge=1, le=90)


class InvitationsCreate(RequestBody):
    """Several invitations; each is made or refused for itself."""

    invitations: Annotated[list[InvitationCreate], Field(min_length=1, max_length=50)]


def _one_or_many(body: Any) -> str:
    return "many" if isinstance(body, dict) and "invitations" in body else "one"


InvitationsBody = Annotated[
    Annotated[InvitationCreate, Tag("one")] | Annotated[InvitationsCreate, Tag("many")], Discriminator(_one_or_many)
]


class GroupWrite(RequestBody):
    """The name of a group."""

    name: Line


class GroupMembersUpdate(RequestBody):
    """Who joins and who leaves a group."""

    add: Annotated[list[UUID], Field(max_length=MAX_GROUP_CHANGE)] = []
    remove: Annotated[list[UUID], Field(max_length=MAX_GROUP_CHANGE)] = []

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        if not set(self.add).isdisjoint(self.remove):
            raise ValueError("nobody can be added and removed at once")
        return self


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
    allowed_domains: list[str]
    trash_days: int
    mfa_required: bool
    ai_models: list[str] | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    purge_at: datetime | None = None
    """Until then a deleted workspace can be restored."""


class WorkspacePage(BaseModel):
    """A page of the caller's workspaces."""

    items: list[WorkspaceRead]
    next_cursor: str | None


class JoinableRead(BaseModel):
    """A workspace the caller may join by the domain of their address."""

    id: UUID
    name: str


class JoinableList(BaseModel):
    """Workspaces the caller may join."""

    items: list[JoinableRead]
    next_cursor: None = None


class MemberRead(BaseModel):
    """A member of a workspace."""

    user_id: UUID
    email: str
    display_name: str
    role: Role
    suspended: bool
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


class InvitationResult(BaseModel):
    """What came of one of several invitations: `invited`, or the code of the failure."""

    email: str
    result: str
    invitation: InvitationRead | None = None


class InvitationResults(BaseModel):
    """What came of several invitations, in their order."""

    items: list[InvitationResult]


class GroupRead(BaseModel):
    """A group of a workspace."""

    id: UUID
    workspace_id: UUID
    name: str
    version: int
    created_at: datetime
    updated_at: datetime


class GroupPage(BaseModel):
    """A page of groups."""

    items: list[GroupRead]
    next_cursor: str | None


class GroupMembersChange(BaseModel):
    """How many joined and left, and the group's version after that."""

    added: int
    removed: int
    version: int


class InvitationPreview(BaseModel):
    """What somebody with the mailed link may see before signing in."""

    workspace_id: UUID
    workspace_name: str
    email: str
    role: Role
    invited_by: str
    expires_at: datetime
