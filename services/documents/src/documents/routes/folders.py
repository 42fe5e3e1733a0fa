"""Folders: a workspace's tree."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from common.access import RANKED
from common.auth import Principal
from common.database import Row
from common.dependencies import BEARER
from common.idempotency import json_response
from common.pagination import DEFAULT_LIMIT, Cursor, Limit
from common.preconditions import RequiredVersion, SeenVersion, etag, not_modified

from .. import schemas
from ..dependencies import Branches, Folders, Key, RequestServices
from ..schemas import (
    Deletion,
    FolderCreate,
    FolderDuplicate,
    FolderMove,
    FolderPage,
    FolderRead,
    FolderTree,
    FolderUpdate,
    State,
)
from ..service.placing import MAX_DEPTH

router = APIRouter(prefix="/v1/folders", tags=["folders"], dependencies=[BEARER])

ParentQuery = Annotated[UUID | Literal["top"] | None, Query(description="What lies in this folder, or at the top")]
Depth = Annotated[int, Query(ge=0, le=MAX_DEPTH, description="Levels of folders")]


@router.post("", status_code=201, response_model=FolderRead)
async def create_folder(body: FolderCreate, folders: Folders, key: Key) -> Response:
    """Create a folder, at the top or in another one."""
    head = await folders.create(body, key.claim)
    headers = {"ETag": etag(head["version"]), "Location": f"/v1/folders/{head['id']}"}
    return await key.keep(json_response(schemas.folder(head), 201, headers))


@router.get("", response_model=FolderPage)
async def list_folders(
    folders: Folders,
    workspace_id: UUID,
    parent_id: ParentQuery = None,
    state: State = "active",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """A workspace's folders by position: all, or those that lie in one."""
    filters = {
        "parent_id": None if parent_id == "top" else parent_id,
        "top": parent_id == "top",
        "trashed": state == "trashed",
    }
    items, next_cursor = await folders.list_page(workspace_id, filters=filters, cursor=cursor, limit=limit)
    return json_response({"items": [schemas.folder(item) for item in items], "next_cursor": next_cursor})


@router.get("/{folder_id}", response_model=FolderRead)
async def get_folder(folder_id: UUID, request: Request, folders: Folders) -> Response:
    """One folder, and what the caller may do with it."""
    head = await folders.get(folder_id)
    viewer: Principal = request.state.user
    tag = etag(head["version"], f"{viewer.user_id.hex[-8:]}{RANKED.index(head['role']):x}")
    if not_modified(request, tag):
        return Response(status_code=304, headers={"ETag": tag})
    return json_response(schemas.folder(head), headers={"ETag": tag})


@router.get("/{folder_id}/tree", response_model=FolderTree, response_model_exclude_none=True)
async def get_tree(folder_id: UUID, folders: Folders, depth: Depth = MAX_DEPTH, documents: bool = True) -> Response:
    """A folder with the folders and documents in it, nested, by position."""
    return json_response(schemas.tree(await folders.tree(folder_id, depth=depth, with_documents=documents)))


@router.patch("/{folder_id}", response_model=FolderRead)
async def update_folder(folder_id: UUID, body: FolderUpdate, folders: Folders, version: RequiredVersion) -> Response:
    """Rename, move or reorder; what lies in it moves along and keeps its own access rules."""
    return _folder(await folders.update(folder_id, body, base=version))


@router.post("/{folder_id}/move", response_model=FolderRead)
async def move_folder(folder_id: UUID, body: FolderMove, found: RequestServices, version: SeenVersion) -> Response:
    """Put into a folder, or to the top, of its workspace or another, with all that lies in it."""
    if body.workspace_id:
        return _folder(
            await found.branches.move_folder(folder_id, body.workspace_id, body.parent_id, body.after, base=version)
        )
    return _folder(await found.folders.move(folder_id, body.parent_id, body.after, base=version))


@router.post("/{folder_id}/duplicate", status_code=201, response_model=FolderRead)
async def duplicate_folder(folder_id: UUID, body: FolderDuplicate, branches: Branches, key: Key) -> Response:
    """Copy a folder with all in it that the caller may read; copies of what is restricted are the caller's alone."""
    head = await branches.duplicate_folder(folder_id, schemas.wanted_copy(body), key.claim)
    headers = {"ETag": etag(head["version"]), "Location": f"/v1/folders/{head['id']}"}
    return await key.keep(json_response(schemas.folder(head), 201, headers))


@router.delete("/{folder_id}", status_code=204)
async def trash_folder(
    folder_id: UUID, found: RequestServices, version: SeenVersion, how: Annotated[Deletion, Query()]
) -> Response:
    """Move to the trash with all that lies in it; `?permanent=true` deletes for good what is there."""
    if how.permanent:
        await found.purge.folder(folder_id, base=version)
    else:
        await found.folders.trash(folder_id, base=version)
    return Response(status_code=204)


@router.post("/{folder_id}/restore", response_model=FolderRead)
async def restore_folder(folder_id: UUID, folders: Folders, version: SeenVersion) -> Response:
    """Take out of the trash, with all that went there with it."""
    return _folder(await folders.restore(folder_id, base=version))


def _folder(head: Row) -> Response:
    return json_response(schemas.folder(head), headers={"ETag": etag(head["version"])})
