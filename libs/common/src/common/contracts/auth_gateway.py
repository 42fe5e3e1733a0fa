"""What auth-gateway tells the fleet: users, workspaces, memberships, sessions."""

from uuid import NAMESPACE_URL, UUID, uuid5

from common.contracts import Event


class UserRegistered(Event):
    """Somebody opened an account."""

    type = "auth-gateway.user.registered.v1"
    user_id: UUID
    display_name: str


class UserUpdated(Event):
    """Profile fields changed, or the e-mail address was proven."""

    type = "auth-gateway.user.updated.v1"
    user_id: UUID
    display_name: str
    version: int
    email_verified: bool | None = None


class SessionOpened(Event):
    """Somebody signed in; `amr` says how (RFC 8176)."""

    type = "auth-gateway.session.opened.v1"
    session_id: UUID
    user_id: UUID
    device_id: UUID | None = None
    amr: list[str]


class SessionEnded(Event):
    """A session was ended by logout, by its owner from elsewhere, or because its refresh token was reused."""

    type = "auth-gateway.session.ended.v1"
    session_id: UUID
    user_id: UUID
    reason: str


class WorkspaceCreated(Event):
    """A workspace and its first owner exist."""

    type = "auth-gateway.workspace.created.v1"
    workspace_id: UUID
    name: str
    version: int


class WorkspaceUpdated(Event):
    """Name or settings of a workspace changed."""

    type = "auth-gateway.workspace.updated.v1"
    workspace_id: UUID
    name: str
    version: int


def membership_id(workspace_id: UUID, user_id: UUID) -> UUID:
    """Aggregate of a membership's events: the same for this pair for ever, however often somebody joins and leaves."""
    return uuid5(NAMESPACE_URL, f"urn:mdcreator:membership:{workspace_id}:{user_id}")


class MembershipChanged(Event):
    """A membership began, changed its role or ended; `version` rises with each change of this pair."""

    type = "auth-gateway.membership.changed.v1"
    workspace_id: UUID
    user_id: UUID
    role: str
    removed: bool
    version: int


class InvitationCreated(Event):
    """Somebody was invited; the address is not told."""

    type = "auth-gateway.invitation.created.v1"
    invitation_id: UUID
    workspace_id: UUID
    role: str


class InvitationAccepted(Event):
    """An invitation led to a membership."""

    type = "auth-gateway.invitation.accepted.v1"
    invitation_id: UUID
    workspace_id: UUID
    user_id: UUID


class InvitationRevoked(Event):
    """An invitation was withdrawn."""

    type = "auth-gateway.invitation.revoked.v1"
    invitation_id: UUID
    workspace_id: UUID
