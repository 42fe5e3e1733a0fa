"""Workspaces, members and invitations."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response

from common.access import abilities
from common.database import Row
from common.idempotency import json_response
from common.pagination import DEFAULT_LIMIT, Cursor, Limit
from common.preconditions import SeenVersion, etag

from ..dependencies import Key, PublicFacts, Workspaces
from ..schemas import (
    InvitationCreate,
    InvitationPage,
    InvitationPreview,
    InvitationRead,
    MemberPage,
    MemberRead,
    MemberUpdate,
    WorkspaceCreate,
    WorkspacePage,
    WorkspaceRead,
    WorkspaceUpdate,
)

router = APIRouter()
InvitationToken = Annotated[str, Path(max_length=200, pattern=r"^[A-Za-z0-9_-]+$")]


@router.post("/v1/workspaces", status_code=201, tags=["workspaces"], response_model=WorkspaceRead)
async def create_workspace(body: WorkspaceCreate, workspaces: Workspaces, key: Key) -> Response:
    """Open a workspace; the caller becomes its owner."""
    await key.claim()
    row = await workspaces.create(body.name)
    headers = {"ETag": etag(row["version"]), "Location": f"/v1/workspaces/{row['id']}"}
    return await key.keep(json_response(_workspace(row).model_dump(mode="json"), 201, headers))


@router.get("/v1/workspaces", tags=["workspaces"])
async def list_workspaces(workspaces: Workspaces, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> WorkspacePage:
    """The caller's workspaces, by name."""
    rows, next_cursor = await workspaces.list_page(cursor, limit)
    return WorkspacePage(items=[_workspace(row) for row in rows], next_cursor=next_cursor)


@router.get("/v1/workspaces/{workspace_id}", tags=["workspaces"])
async def get_workspace(workspace_id: UUID, workspaces: Workspaces, response: Response) -> WorkspaceRead:
    """One workspace."""
    workspace = _workspace(await workspaces.get(workspace_id))
    response.headers["ETag"] = etag(workspace.version)
    return workspace


@router.patch("/v1/workspaces/{workspace_id}", tags=["workspaces"])
async def update_workspace(
    workspace_id: UUID, body: WorkspaceUpdate, workspaces: Workspaces, version: SeenVersion, response: Response
) -> WorkspaceRead:
    """Rename a workspace (admins)."""
    workspace = _workspace(await workspaces.rename(workspace_id, body.name, version))
    response.headers["ETag"] = etag(workspace.version)
    return workspace


@router.get("/v1/workspaces/{workspace_id}/members", tags=["members"])
async def list_members(
    workspace_id: UUID, workspaces: Workspaces, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> MemberPage:
    """Members, in the order they joined."""
    rows, next_cursor = await workspaces.list_members(workspace_id, cursor, limit)
    return MemberPage(items=[MemberRead(**row) for row in rows], next_cursor=next_cursor)


@router.patch("/v1/workspaces/{workspace_id}/members/{user_id}", tags=["members"])
async def set_member_role(workspace_id: UUID, user_id: UUID, body: MemberUpdate, workspaces: Workspaces) -> MemberRead:
    """Give a member another role (admins; owners for owners)."""
    return MemberRead(**await workspaces.set_role(workspace_id, user_id, body.role.value))


@router.delete("/v1/workspaces/{workspace_id}/members/{user_id}", status_code=204, tags=["members"])
async def remove_member(workspace_id: UUID, user_id: UUID, workspaces: Workspaces) -> None:
    """Remove a member, or oneself."""
    await workspaces.remove_member(workspace_id, user_id)


@router.post(
    "/v1/workspaces/{workspace_id}/invitations", status_code=201, tags=["invitations"], response_model=InvitationRead
)
async def create_invitation(workspace_id: UUID, body: InvitationCreate, workspaces: Workspaces, key: Key) -> Response:
    """Invite somebody by mail (admins)."""
    await key.claim()
    row = await workspaces.invite(workspace_id, body.email, body.role.value)
    return await key.keep(json_response(InvitationRead(**row).model_dump(mode="json"), 201))


@router.get("/v1/workspaces/{workspace_id}/invitations", tags=["invitations"])
async def list_invitations(
    workspace_id: UUID, workspaces: Workspaces, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> InvitationPage:
    """Invitations, newest first (admins)."""
    rows, next_cursor = await workspaces.list_invitations(workspace_id, cursor, limit)
    return InvitationPage(items=[InvitationRead(**row) for row in rows], next_cursor=next_cursor)


@router.delete("/v1/workspaces/{workspace_id}/invitations/{invitation_id}", status_code=204, tags=["invitations"])
async def revoke_invitation(workspace_id: UUID, invitation_id: UUID, workspaces: Workspaces) -> None:
    """Withdraw an invitation (admins)."""
    await workspaces.revoke_invitation(workspace_id, invitation_id)


@router.get("/v1/invitations/{token}", tags=["invitations"])
async def get_invitation(token: InvitationToken, facts: PublicFacts) -> InvitationPreview:
    """What an invitation is for, by its mailed secret."""
    return InvitationPreview(**await facts.invitation(token))


@router.post("/v1/invitations/{token}/accept", tags=["invitations"])
async def accept_invitation(token: InvitationToken, workspaces: Workspaces) -> WorkspaceRead:
    """Join the workspace the invitation is for."""
    return _workspace(await workspaces.accept_invitation(token))


def _workspace(row: Row) -> WorkspaceRead:
    return WorkspaceRead(**row, abilities=abilities(row["role"]))
