"""What auth-gateway tells the fleet: users, workspaces, memberships, sessions.

`ai_models` of a workspace: null, all; left out, by a release that did not tell it, nothing is known.
"""

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
    ai_models: list[str] | None = None


class WorkspaceUpdated(Event):
    """Name or settings of a workspace changed."""

    type = "auth-gateway.workspace.updated.v1"
    workspace_id: UUID
    name: str
    version: int
    ai_models: list[str] | None = None


class WorkspaceDeleted(Event):
    """A workspace was deleted; within the time of grace it can be restored, until then it is closed to everybody."""

    type = "auth-gateway.workspace.deleted.v1"
    workspace_id: UUID
    name: str
    version: int
    ai_models: list[str] | None = None


class WorkspaceRestored(Event):
    """A deleted workspace was opened again."""

    type = "auth-gateway.workspace.restored.v1"
    workspace_id: UUID
    name: str
    version: int
    ai_models: list[str] | None = None


def membership_id(workspace_id: UUID, user_id: UUID) -> UUID:
    """Aggregate of a membership's events: the same for this pair for ever, however often somebody joins and leaves."""
    return uuid5(NAMESPACE_URL, f"urn:mdcreator:membership:{workspace_id}:{user_id}")


class MembershipChanged(Event):
    """A membership began, changed its role, was suspended or ended; `version` rises with each change of this pair.

    A suspended membership grants nothing, hence `removed`, and can be resumed, hence `suspended`.
    """

    type = "auth-gateway.membership.changed.v1"
    workspace_id: UUID
    user_id: UUID
    role: str
    removed: bool
    version: int
    suspended: bool | None = None


class GroupCreated(Event):
    """A group exists; groups are principals of grants."""

    type = "auth-gateway.group.created.v1"
    group_id: UUID
    workspace_id: UUID
    name: str
    version: int


class GroupUpdated(Event):
    """A group has another name."""

    type = "auth-gateway.group.updated.v1"
    group_id: UUID
    workspace_id: UUID
    name: str
    version: int


class GroupDeleted(Event):
    """A group is gone; its members were told as removed before."""

    type = "auth-gateway.group.deleted.v1"
    group_id: UUID
    workspace_id: UUID
    name: str
    version: int


MAX_MEMBERS_TOLD = 1_000
"""Users in one `GroupMembersChanged`: SNS and SQS take 256 KiB."""


class GroupMembersChanged(Event):
    """Users joined or left a group; for each of them the newest version that names them counts."""

    type = "auth-gateway.group-members.changed.v1"
    group_id: UUID
    workspace_id: UUID
    added: list[UUID]
    removed: list[UUID]
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
