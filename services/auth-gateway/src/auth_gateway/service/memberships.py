"""Who belongs where: what the verbs about workspaces, members, groups and invitations share."""

from collections.abc import Sequence
from uuid import UUID

from common.access import Action, Role, allows
from common.auth import Principal
from common.contracts import Event
from common.contracts.auth_gateway import (
    MAX_MEMBERS_TOLD,
    GroupMembersChanged,
    InvitationRevoked,
    MembershipChanged,
    membership_id,
)
from common.database import Row
from common.revocations import Announcer

from .. import domain
from ..errors import LastOwnerError, MemberNotFoundError, RoleInsufficientError, WorkspaceNotFoundError
from ..repository import GroupRepository, InvitationRepository, MemberRepository, WorkspaceRepository


class Memberships:
    """Memberships of workspaces and groups as one user may change them; every change is told and announced."""

    def __init__(
        self,
        workspaces: WorkspaceRepository,
        members: MemberRepository,
        groups: GroupRepository,
        invitations: InvitationRepository,
        announcer: Announcer,
        me: UUID,
        principal: Principal | None,
    ) -> None:
        self._workspaces = workspaces
        self._members = members
        self._groups = groups
        self._invitations = invitations
        self._announcer = announcer
        self.principal = principal
        self.me = me

    async def record(self, event: Event, aggregate_id: UUID, version: int) -> None:
        """Write an event to the outbox."""
        await self._members.record(event, aggregate_id, version, self.principal)

    async def get(self, workspace_id: UUID) -> Row:
        """A living workspace of the caller's. Raises `WorkspaceNotFoundError`."""
        workspace = await self._workspaces.find(workspace_id, self.me)
        if workspace is None:
            raise WorkspaceNotFoundError
        return workspace

    async def require(self, workspace_id: UUID, action: Action) -> Row:
        """The workspace, if the caller may do this in it. Raises `WorkspaceNotFoundError`, `RoleInsufficientError`."""
        workspace = await self.get(workspace_id)
        if not allows(workspace["role"], action):
            raise RoleInsufficientError
        return workspace

    async def lock_and_require(self, workspace_id: UUID, action: Action) -> Row:
        """As `require`, but lock first: the right may go while we wait."""
        await self._workspaces.lock(workspace_id)
        return await self.require(workspace_id, action)

    async def find(self, workspace_id: UUID, user_id: UUID) -> Row:
        """A living or suspended membership. Raises `MemberNotFoundError`."""
        member = await self._members.find(workspace_id, user_id)
        if member is None or (member["removed"] and not member["suspended"]):
            raise MemberNotFoundError
        return member

    async def begin(self, workspace_id: UUID, user_id: UUID, role: str) -> None:
        """Make somebody a member. Raises `PermissionError` if nothing allows it, or if the membership is suspended."""
        version = await self._members.begin(workspace_id, user_id, role)
        await self._tell(
            {
                "workspace_id": workspace_id,
                "user_id": user_id,
                "role": role,
                "removed": False,
                "suspended": False,
                "version": version,
            }
        )

    async def set_role(self, member: Row, role: str) -> None:
        """Give a member another role. Raises `LastOwnerError`."""
        if member["role"] != role:
            await self._keep_an_owner(member)
            await self._revoke_invitations_beyond(member, role)
            await self._tell(await self._members.set_role(member["workspace_id"], member["user_id"], role))

    async def set_suspended(self, member: Row, *, suspended: bool) -> None:
        """Suspend or resume a membership; role and groups stay, open invitations do not."""
        if member["suspended"] != suspended:
            if suspended:
                await self._revoke_invitations_beyond(member, None)
            fact = await self._members.set_suspended(member["workspace_id"], member["user_id"], suspended=suspended)
            await self._tell(fact)

    async def end(self, member: Row) -> None:
        """End a membership, and with it those of the workspace's groups. Raises `LastOwnerError`."""
        workspace_id, user_id = member["workspace_id"], member["user_id"]
        await self._keep_an_owner(member)
        await self._revoke_invitations_beyond(member, None)
        for group in await self._groups.groups_with(workspace_id, user_id):
            await self.change_group(group, [], [user_id])
        await self._tell(await self._members.end(workspace_id, user_id))

    async def change_group(self, group: Row, added: Sequence[UUID], removed: Sequence[UUID]) -> int:
        """Let these join and leave a group; its version after that. Whoever is named must change by it."""
        users, joining = [*added, *removed], len(added)
        starts = range(0, len(users), MAX_MEMBERS_TOLD)
        version = group["version"] + len(starts)
        if starts:
            # Before who is in it: who leaves could not change the group afterwards.
            await self._groups.set_version(group["id"], version)
            await self._groups.set_members(group, users, joining=joining, told_at_once=MAX_MEMBERS_TOLD)
        for told, start in enumerate(starts, group["version"] + 1):
            split = max(start, min(joining, start + MAX_MEMBERS_TOLD))
            await self._tell_group(group, users[start:split], users[split : start + MAX_MEMBERS_TOLD], told)
        return int(version)

    async def _tell_group(self, group: Row, added: Sequence[UUID], removed: Sequence[UUID], version: int) -> None:
        event = GroupMembersChanged(
            group_id=group["id"],
            workspace_id=group["workspace_id"],
            added=list(added),
            removed=list(removed),
            version=version,
        )
        await self.record(event, group["id"], version)
        await self._announcer.members_changed(self._members.transaction, "group", group["id"], removed, version)

    async def _tell(self, fact: Row) -> None:
        event = MembershipChanged(**fact)
        workspace_id, user_id, version = event.workspace_id, event.user_id, event.version
        await self.record(event, membership_id(workspace_id, user_id), version)
        await self._announcer.members_changed(self._members.transaction, "member", workspace_id, [user_id], version)

    async def _keep_an_owner(self, member: Row) -> None:
        living = member["role"] == Role.OWNER and not member["removed"]
        if living and await self._members.count_owners(member["workspace_id"]) == 1:
            raise LastOwnerError

    async def _revoke_invitations_beyond(self, member: Row, role: str | None) -> None:
        """Withdraw open invitations this member could not make with the new role; None: they may do nothing any more.

        Before the membership changes: who leaves could not withdraw them afterwards.
        """
        kept = [other.value for other in Role if role is not None and domain.may_invite_as(role, other)]
        revoked = await self._invitations.revoke_by(member["workspace_id"], member["user_id"], kept)
        for invitation_id in revoked:
            await self.record_revoked(member["workspace_id"], invitation_id)

    async def record_revoked(self, workspace_id: UUID, invitation_id: UUID) -> None:
        """Tell that an invitation was withdrawn."""
        event = InvitationRevoked(invitation_id=invitation_id, workspace_id=workspace_id)
        await self.record(event, invitation_id, 2)
