"""Members of workspaces."""

from uuid import UUID

from fastapi import APIRouter

from common.pagination import DEFAULT_LIMIT, Cursor, Limit

from ..dependencies import Members
from ..schemas import MemberPage, MemberRead, MemberUpdate, Transfer, WorkspaceRead
from .workspaces import shown

router = APIRouter(prefix="/v1/workspaces/{workspace_id}", tags=["members"])


@router.get("/members")
async def list_members(
    workspace_id: UUID, members: Members, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> MemberPage:
    """Members, in the order they joined."""
    rows, next_cursor = await members.list_page(workspace_id, cursor, limit)
    return MemberPage(items=[MemberRead(**row) for row in rows], next_cursor=next_cursor)


@router.patch("/members/{user_id}")
async def set_member_role(workspace_id: UUID, user_id: UUID, body: MemberUpdate, members: Members) -> MemberRead:
    """Give a member another role (admins; owners for owners)."""
    return MemberRead(**await members.set_role(workspace_id, user_id, body.role.value))


@router.delete("/members/{user_id}", status_code=204)
async def remove_member(workspace_id: UUID, user_id: UUID, members: Members) -> None:
    """Remove a member, or oneself."""
    await members.remove(workspace_id, user_id)


@router.post("/members/{user_id}/suspend")
async def suspend_member(workspace_id: UUID, user_id: UUID, members: Members) -> MemberRead:
    """Let a membership grant nothing until it is resumed (admins; owners for owners)."""
    return MemberRead(**await members.set_suspended(workspace_id, user_id, suspended=True))


@router.post("/members/{user_id}/resume")
async def resume_member(workspace_id: UUID, user_id: UUID, members: Members) -> MemberRead:
    """End a suspension: role and groups are as before (admins; owners for owners)."""
    return MemberRead(**await members.set_suspended(workspace_id, user_id, suspended=False))


@router.post("/leave", status_code=204)
async def leave_workspace(workspace_id: UUID, members: Members) -> None:
    """End the own membership."""
    await members.leave(workspace_id)


@router.post("/transfer")
async def transfer_workspace(workspace_id: UUID, body: Transfer, members: Members) -> WorkspaceRead:
    """Make another member owner and oneself admin (owners)."""
    return shown(await members.transfer(workspace_id, body.user_id))
