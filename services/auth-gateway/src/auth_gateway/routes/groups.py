"""Groups of workspaces and who is in them."""

from uuid import UUID

from fastapi import APIRouter, Response

from common.idempotency import json_response
from common.pagination import DEFAULT_LIMIT, Cursor, Limit
from common.preconditions import SeenVersion, etag

from ..dependencies import Groups, Key
from ..schemas import GroupMembersChange, GroupMembersUpdate, GroupPage, GroupRead, GroupWrite, MemberPage, MemberRead

router = APIRouter(prefix="/v1/workspaces/{workspace_id}/groups", tags=["groups"])


@router.post("", status_code=201, response_model=GroupRead)
async def create_group(workspace_id: UUID, body: GroupWrite, groups: Groups, key: Key) -> Response:
    """Make an empty group (admins)."""
    await key.claim()
    row = await groups.create(workspace_id, body.name)
    headers = {"ETag": etag(row["version"]), "Location": f"/v1/workspaces/{workspace_id}/groups/{row['id']}"}
    return await key.keep(json_response(GroupRead(**row).model_dump(mode="json"), 201, headers))


@router.get("")
async def list_groups(
    workspace_id: UUID, groups: Groups, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> GroupPage:
    """Groups, by name."""
    rows, next_cursor = await groups.list_page(workspace_id, cursor, limit)
    return GroupPage(items=[GroupRead(**row) for row in rows], next_cursor=next_cursor)


@router.get("/{group_id}")
async def get_group(workspace_id: UUID, group_id: UUID, groups: Groups, response: Response) -> GroupRead:
    """One group."""
    group = GroupRead(**await groups.get(workspace_id, group_id))
    response.headers["ETag"] = etag(group.version)
    return group


@router.patch("/{group_id}")
async def rename_group(
    workspace_id: UUID, group_id: UUID, body: GroupWrite, groups: Groups, version: SeenVersion, response: Response
) -> GroupRead:
    """Give a group another name (admins)."""
    group = GroupRead(**await groups.rename(workspace_id, group_id, body.name, version))
    response.headers["ETag"] = etag(group.version)
    return group


@router.delete("/{group_id}", status_code=204)
async def delete_group(workspace_id: UUID, group_id: UUID, groups: Groups) -> None:
    """End a group, and all it was granted with it (admins)."""
    await groups.delete(workspace_id, group_id)


@router.get("/{group_id}/members")
async def list_group_members(
    workspace_id: UUID, group_id: UUID, groups: Groups, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> MemberPage:
    """Who is in a group."""
    rows, next_cursor = await groups.list_members(workspace_id, group_id, cursor, limit)
    return MemberPage(items=[MemberRead(**row) for row in rows], next_cursor=next_cursor)


@router.patch("/{group_id}/members")
async def change_group_members(
    workspace_id: UUID, group_id: UUID, body: GroupMembersUpdate, groups: Groups
) -> GroupMembersChange:
    """Let many join and leave a group at once (admins)."""
    changed = await groups.change_members(workspace_id, group_id, add=body.add, remove=body.remove)
    return GroupMembersChange.model_validate(changed)


@router.put("/{group_id}/members/{user_id}", status_code=204)
async def add_group_member(workspace_id: UUID, group_id: UUID, user_id: UUID, groups: Groups) -> None:
    """Let a member or guest join a group (admins)."""
    await groups.change_members(workspace_id, group_id, add=[user_id])


@router.delete("/{group_id}/members/{user_id}", status_code=204)
async def remove_group_member(workspace_id: UUID, group_id: UUID, user_id: UUID, groups: Groups) -> None:
    """Take somebody out of a group (admins)."""
    await groups.change_members(workspace_id, group_id, remove=[user_id])
