"""Members of workspaces: their roles, suspension, handing over, leaving."""

from datetime import datetime
from uuid import UUID

from common import pagination
from common.access import Action, Role
from common.database import Row

from .. import domain
from ..errors import MemberNotFoundError, OwnMembershipError, RoleInsufficientError
from ..repository import MemberRepository
from .memberships import Memberships


class MemberService:
    """Members of the caller's workspaces."""

    def __init__(self, members: MemberRepository, memberships: Memberships) -> None:
        self._members = members
        self._memberships = memberships

    async def list_page(self, workspace_id: UUID, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """A page of members, suspended ones included, in the order they joined. Raises `RoleInsufficientError`."""
        await self._memberships.require(workspace_id, Action.READ)
        after = pagination.decode(cursor, datetime.fromisoformat, UUID) if cursor else None
        rows = await self._members.list_page(workspace_id, after, limit)
        return pagination.page(rows, limit, "joined_at", "user_id")

    async def set_role(self, workspace_id: UUID, user_id: UUID, role: str) -> Row:
        """Give a member another role, also a suspended one.

        Raises `RoleInsufficientError`, `MemberNotFoundError`, `LastOwnerError`.
        """
        actor = await self._memberships.lock_and_require(workspace_id, Action.READ)
        member = await self._memberships.find(workspace_id, user_id)
        if not domain.may_set_role(actor["role"], member["role"], role):
            raise RoleInsufficientError
        await self._memberships.set_role(member, role)
        return await self._members.get(workspace_id, user_id)

    async def remove(self, workspace_id: UUID, user_id: UUID) -> None:
        """End a membership, also one's own or a suspended one; its rights end everywhere within a second.

        Raises `RoleInsufficientError`, `MemberNotFoundError`, `LastOwnerError`.
        """
        oneself = user_id == self._memberships.me
        actor = await self._memberships.lock_and_require(workspace_id, Action.ENTER if oneself else Action.READ)
        member = await self._memberships.find(workspace_id, user_id)
        if not domain.may_remove(actor["role"], member["role"], oneself=oneself):
            raise RoleInsufficientError
        await self._memberships.end(member)

    async def leave(self, workspace_id: UUID) -> None:
        """End the caller's own membership. Raises `WorkspaceNotFoundError`, `LastOwnerError`."""
        await self.remove(workspace_id, self._memberships.me)

    async def transfer(self, workspace_id: UUID, user_id: UUID) -> Row:
        """Make another living member owner and the caller admin; the workspace as the caller sees it then.

        Raises `RoleInsufficientError`, `OwnMembershipError`, `MemberNotFoundError`.
        """
        await self._memberships.lock_and_require(workspace_id, Action.OWN)
        heir, owner = await self._other(workspace_id, user_id), await self._mine(workspace_id)
        if heir["suspended"]:
            raise MemberNotFoundError
        await self._memberships.set_role(heir, Role.OWNER.value)
        await self._memberships.set_role(owner, Role.ADMIN.value)
        return await self._memberships.get(workspace_id)

    async def set_suspended(self, workspace_id: UUID, user_id: UUID, *, suspended: bool) -> Row:
        """Suspend a membership, which then grants nothing but keeps role and groups, or resume it.

        An owner is left in any case: only another owner suspends owners.
        Raises `RoleInsufficientError`, `OwnMembershipError`, `MemberNotFoundError`.
        """
        actor = await self._memberships.lock_and_require(workspace_id, Action.MANAGE)
        member = await self._other(workspace_id, user_id)
        if not domain.may_remove(actor["role"], member["role"], oneself=False):
            raise RoleInsufficientError
        await self._memberships.set_suspended(member, suspended=suspended)
        return await self._members.get(workspace_id, user_id)

    async def _mine(self, workspace_id: UUID) -> Row:
        return await self._memberships.find(workspace_id, self._memberships.me)

    async def _other(self, workspace_id: UUID, user_id: UUID) -> Row:
        if user_id == self._memberships.me:
            raise OwnMembershipError
        return await self._memberships.find(workspace_id, user_id)
