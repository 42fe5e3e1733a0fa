"""Workspaces: made, configured, joined by domain, deleted and restored."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from common.access import abilities
from common.database import Row
from common.idempotency import json_response
from common.pagination import DEFAULT_LIMIT, Cursor, Limit
from common.preconditions import SeenVersion, etag

from ..dependencies import Key, Workspaces
from ..schemas import JoinableList, JoinableRead, WorkspaceCreate, WorkspacePage, WorkspaceRead, WorkspaceUpdate

router = APIRouter(prefix="/v1/workspaces", tags=["workspaces"])


@router.post("", status_code=201, response_model=WorkspaceRead)
async def create_workspace(body: WorkspaceCreate, workspaces: Workspaces, key: Key) -> Response:
    """Open a workspace; the caller becomes its owner."""
    await key.claim()
    row = await workspaces.create(body.name)
    headers = {"ETag": etag(row["version"]), "Location": f"/v1/workspaces/{row['id']}"}
    return await key.keep(json_response(shown(row).model_dump(mode="json"), 201, headers))


@router.get("")
async def list_workspaces(
    workspaces: Workspaces,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    state: Literal["active", "deleted"] = "active",
) -> WorkspacePage:
    """The caller's workspaces, by name; or the deleted ones they can restore (owners)."""
    list_page = workspaces.list_page if state == "active" else workspaces.list_deleted
    rows, next_cursor = await list_page(cursor, limit)
    return WorkspacePage(items=[shown(row) for row in rows], next_cursor=next_cursor)


@router.get("/joinable")
async def list_joinable_workspaces(workspaces: Workspaces) -> JoinableList:
    """Workspaces that let in whoever has proven an address of the caller's domain."""
    return JoinableList(items=[JoinableRead(**row) for row in await workspaces.list_joinable()])


@router.get("/{workspace_id}")
async def get_workspace(workspace_id: UUID, workspaces: Workspaces, response: Response) -> WorkspaceRead:
    """One workspace."""
    workspace = shown(await workspaces.get(workspace_id))
    response.headers["ETag"] = etag(workspace.version)
    return workspace


@router.patch("/{workspace_id}")
async def update_workspace(
    workspace_id: UUID, body: WorkspaceUpdate, workspaces: Workspaces, version: SeenVersion, response: Response
) -> WorkspaceRead:
    """Change name and settings (admins; allowed domains and MFA: owners)."""
    workspace = shown(await workspaces.update(workspace_id, body.model_dump(exclude_unset=True), version))
    response.headers["ETag"] = etag(workspace.version)
    return workspace


@router.delete("/{workspace_id}", status_code=204)
async def delete_workspace(
    workspace_id: UUID,
    workspaces: Workspaces,
    confirm: Annotated[str | None, Query(max_length=200, description="The workspace's name")] = None,
) -> None:
    """Close a workspace to everybody (owners); it can be restored for some time."""
    await workspaces.delete(workspace_id, confirm)


@router.post("/{workspace_id}/restore")
async def restore_workspace(workspace_id: UUID, workspaces: Workspaces) -> WorkspaceRead:
    """Open a deleted workspace again (owners)."""
    return shown(await workspaces.restore(workspace_id))


@router.post("/{workspace_id}/join")
async def join_workspace(workspace_id: UUID, workspaces: Workspaces) -> WorkspaceRead:
    """Become an editor where the domain of the own, proven address is allowed."""
    return shown(await workspaces.join(workspace_id))


def shown(row: Row) -> WorkspaceRead:
    """A workspace as its member sees it."""
    return WorkspaceRead(**row, abilities=abilities(row["role"]))
