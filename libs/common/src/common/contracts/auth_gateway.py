"""What auth-gateway tells the fleet: users, workspaces, memberships, sessions."""

from typing import ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)
    type: ClassVar[str]


class UserRegistered(_Event):
    """Somebody opened an account."""

    type = "auth-gateway.user.registered.v1"
    user_id: UUID
    display_name: str


class UserUpdated(_Event):
    """Profile fields changed."""

    type = "auth-gateway.user.updated.v1"
    user_id: UUID
    display_name: str
    version: int


class SessionEnded(_Event):
    """A session was ended by logout, by its owner from elsewhere, or because its refresh token was reused."""

    type = "auth-gateway.session.ended.v1"
    session_id: UUID
    user_id: UUID
    reason: str


class WorkspaceCreated(_Event):
    """A workspace and its first owner exist."""

    type = "auth-gateway.workspace.created.v1"
    workspace_id: UUID
    name: str
    version: int


class WorkspaceUpdated(_Event):
    """Name or settings of a workspace changed."""

    type = "auth-gateway.workspace.updated.v1"
    workspace_id: UUID
    name: str
    version: int


class MembershipChanged(_Event):
    """A membership began, changed its role or ended; `version` rises with each change of this pair."""

    type = "auth-gateway.membership.changed.v1"
    workspace_id: UUID
    user_id: UUID
    role: str
    removed: bool
    version: int


class InvitationCreated(_Event):
    """Somebody was invited; the address is not told."""

    type = "auth-gateway.invitation.created.v1"
    invitation_id: UUID
    workspace_id: UUID
    role: str


class InvitationAccepted(_Event):
    """An invitation led to a membership."""

    type = "auth-gateway.invitation.accepted.v1"
    invitation_id: UUID
    workspace_id: UUID
    user_id: UUID


class InvitationRevoked(_Event):
    """An invitation was withdrawn."""

    type = "auth-gateway.invitation.revoked.v1"
    invitation_id: UUID
    workspace_id: UUID
