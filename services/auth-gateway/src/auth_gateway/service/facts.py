"""What may be asked without a signed-in user: facts by other services, an invitation by its mailed secret."""

from datetime import UTC, datetime
from uuid import UUID

from common.auth import digest
from common.database import Row

from ..errors import InvitationGoneError, InvitationNotFoundError, MemberNotFoundError
from ..repository import (
    AccountRepository,
    GroupRepository,
    InvitationRepository,
    MemberRepository,
    WorkspaceRepository,
)


class FactService:
    """Versioned facts of this service."""

    def __init__(
        self,
        accounts: AccountRepository,
        workspaces: WorkspaceRepository,
        members: MemberRepository,
        groups: GroupRepository,
        invitations: InvitationRepository,
    ) -> None:
        self._accounts = accounts
        self._workspaces = workspaces
        self._members = members
        self._groups = groups
        self._invitations = invitations

    async def membership(self, workspace_id: UUID, user_id: UUID) -> Row:
        """A membership, ended and suspended ones included. Raises `MemberNotFoundError`."""
        await self._accounts.act_as(user_id)
        member = await self._members.find(workspace_id, user_id)
        if member is None:
            raise MemberNotFoundError
        return member

    async def access_of(self, user_id: UUID) -> dict[str, list[Row]]:
        """Everything a user belongs or belonged to, deleted workspaces included; nothing for somebody unknown."""
        await self._accounts.act_as(user_id)
        return {
            "members": await self._members.facts(user_id),
            "group_members": await self._groups.facts(user_id),
            "workspaces": await self._workspaces.facts(),
        }

    async def invitation(self, token: str) -> Row:
        """What the holder of a mailed link may see. Raises `InvitationNotFoundError`, `InvitationGoneError`."""
        invitation = await invitation_by(self._invitations, token)
        refuse_closed(invitation)
        return invitation


async def invitation_by(invitations: InvitationRepository, token: str) -> Row:
    """The invitation behind a mailed secret. Raises `InvitationNotFoundError`."""
    invitation = await invitations.find_by_token(digest(token))
    if invitation is None:
        raise InvitationNotFoundError
    return invitation


def refuse_closed(invitation: Row) -> None:
    """Raise `InvitationGoneError` unless it can still be accepted."""
    if invitation["accepted_at"] or invitation["revoked_at"] or invitation["expires_at"] < datetime.now(UTC):
        raise InvitationGoneError
