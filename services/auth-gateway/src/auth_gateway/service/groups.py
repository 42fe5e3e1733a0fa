"""Groups of members and guests: principals that can be granted rights."""

from collections.abc import Sequence
from uuid import UUID

from common import pagination
from common.access import Action
from common.contracts.auth_gateway import GroupCreated, GroupDeleted, GroupUpdated
from common.database import Row
from common.errors import PreconditionFailedError
from common.identifiers import uuid7

from ..errors import GroupNotFoundError, NotAMemberError
from ..repository import GroupRepository
from .memberships import Memberships

STRANGERS_NAMED = 20


class GroupService:
    """Groups of the caller's workspaces."""

    def __init__(self, groups: GroupRepository, memberships: Memberships) -> None:
        self._groups = groups
        self._memberships = memberships

    async def create(self, workspace_id: UUID, name: str) -> Row:
        """Make an empty group. Raises `RoleInsufficientError`, `GroupExistsError`."""
        await self._memberships.lock_and_require(workspace_id, Action.MANAGE)
        group_id = uuid7()
        await self._groups.create(group_id, workspace_id, name)
        event = GroupCreated(group_id=group_id, workspace_id=workspace_id, name=name, version=1)
        await self._memberships.record(event, group_id, 1)
        return await self._group(workspace_id, group_id)

    async def get(self, workspace_id: UUID, group_id: UUID) -> Row:
        """One group. Raises `RoleInsufficientError`, `GroupNotFoundError`."""
        await self._memberships.require(workspace_id, Action.READ)
        return await self._group(workspace_id, group_id)

    async def list_page(self, workspace_id: UUID, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """A page of groups, by name. Raises `RoleInsufficientError`."""
        await self._memberships.require(workspace_id, Action.READ)
        after = pagination.decode(cursor, str, UUID) if cursor else None
        return pagination.page(await self._groups.list_page(workspace_id, after, limit), limit, "name", "id")

    async def rename(self, workspace_id: UUID, group_id: UUID, name: str, base: int | None) -> Row:
        """Change the name; with `base`, only if nobody changed the group since.

        Raises `RoleInsufficientError`, `GroupNotFoundError`, `PreconditionFailedError`, `GroupExistsError`.
        """
        group = await self._lock(workspace_id, group_id)
        if base is not None and base != group["version"]:
            raise PreconditionFailedError(version=group["version"])
        if group["name"] != name:
            version = await self._groups.rename(group_id, name)
            event = GroupUpdated(group_id=group_id, workspace_id=workspace_id, name=name, version=version)
            await self._memberships.record(event, group_id, version)
        return await self._group(workspace_id, group_id)

    async def delete(self, workspace_id: UUID, group_id: UUID) -> None:
        """End a group, and first everybody's being in it. Raises `RoleInsufficientError`, `GroupNotFoundError`."""
        group = await self._lock(workspace_id, group_id)
        await self._memberships.change_group(group, [], await self._groups.members_of(group_id))
        version = await self._groups.delete(group_id)
        event = GroupDeleted(group_id=group_id, workspace_id=workspace_id, name=group["name"], version=version)
        await self._memberships.record(event, group_id, version)

    async def list_members(
        self, workspace_id: UUID, group_id: UUID, cursor: str | None, limit: int
    ) -> tuple[list[Row], str | None]:
        """A page of who is in a group. Raises `RoleInsufficientError`, `GroupNotFoundError`."""
        await self.get(workspace_id, group_id)
        after = pagination.decode(cursor, UUID)[0] if cursor else None
        rows = await self._groups.list_members(workspace_id, group_id, after, limit)
        return pagination.page(rows, limit, "user_id")

    async def change_members(
        self, workspace_id: UUID, group_id: UUID, *, add: Sequence[UUID] = (), remove: Sequence[UUID] = ()
    ) -> dict[str, int]:
        """Let members and guests join and leave a group; who is in already, or not, changes nothing.

        Raises `RoleInsufficientError`, `GroupNotFoundError`, `NotAMemberError`.
        """
        group = await self._lock(workspace_id, group_id)
        add, remove = list(dict.fromkeys(add)), list(dict.fromkeys(remove))
        if strangers := await self._groups.strangers(workspace_id, add, STRANGERS_NAMED):
            raise NotAMemberError(user_ids=[str(user) for user in strangers])
        there = set(await self._groups.among_members(group_id, [*add, *remove]))
        added, removed = [user for user in add if user not in there], [user for user in remove if user in there]
        version = await self._memberships.change_group(group, added, removed)
        return {"added": len(added), "removed": len(removed), "version": version}

    async def _lock(self, workspace_id: UUID, group_id: UUID) -> Row:
        await self._memberships.lock_and_require(workspace_id, Action.MANAGE)
        return await self._group(workspace_id, group_id)

    async def _group(self, workspace_id: UUID, group_id: UUID) -> Row:
        group = await self._groups.find(workspace_id, group_id)
        if group is None:
            raise GroupNotFoundError
        return group
