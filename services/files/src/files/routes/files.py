"""Files: metadata here, bytes by signed URLs."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from common.access import Action
from common.dependencies import BEARER
from common.idempotency import json_response
from common.pagination import DEFAULT_LIMIT, Cursor, Limit
from common.preconditions import RequiredVersion, SeenVersion, etag

from .. import schemas
from ..dependencies import RequestServices
from ..schemas import FilePage, FileRead, FilesWanted, FileUpdate, FileUrls, Usage

router = APIRouter(prefix="/v1/files", tags=["files"], dependencies=[BEARER])

Pixels = Annotated[int, Query(ge=1, le=4096, description="Longest side wanted, in pixels")]
Disposition = Annotated[Literal["inline", "attachment"], Query(description="Shown where that is safe, or saved")]
_REDIRECT: dict[int | str, dict[str, Any]] = {302: {"description": "To the bytes, for some seconds"}}


@router.get("", response_model=FilePage)
async def list_files(
    found: RequestServices, workspace_id: UUID, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """A workspace's files that the caller may read, newest first."""
    items, next_cursor = await found.files.list_page(workspace_id, cursor=cursor, limit=limit)
    return json_response({"items": list(map(schemas.file, items)), "next_cursor": next_cursor})


@router.get("/usage", response_model=Usage)
async def get_usage(found: RequestServices, workspace_id: UUID) -> Response:
    """What a workspace stores."""
    await found.places.require_workspace(workspace_id, Action.ENTER)
    usage, limit = await found.usage.usage(workspace_id), found.quota_bytes
    left = max(0, limit - usage["used"] - usage["reserved"])
    return json_response({"workspace_id": workspace_id, **usage, "limit": limit, "available": left})


@router.post("/urls", response_model=FileUrls)
async def sign_urls(body: FilesWanted, found: RequestServices) -> Response:
    """URLs for a page full of images, good for some seconds."""
    answers = await found.files.urls(body.ids)
    return json_response({"items": [{"id": id_, "url": url, "expires_at": end} for id_, url, end in answers]})


@router.get("/{file_id}", response_model=FileRead)
async def get_file(file_id: UUID, found: RequestServices) -> Response:
    """One file, and what the caller may do with it."""
    row = await found.files.get(file_id)
    return json_response(schemas.file(row), headers={"ETag": etag(row["version"])})


@router.patch("/{file_id}", response_model=FileRead)
async def rename_file(file_id: UUID, body: FileUpdate, found: RequestServices, version: RequiredVersion) -> Response:
    """Give it another name."""
    row = await found.files.rename(file_id, body.filename, base=version)
    return json_response(schemas.file(row), headers={"ETag": etag(row["version"])})


@router.delete("/{file_id}", status_code=204)
async def delete_file(file_id: UUID, found: RequestServices, version: SeenVersion) -> Response:
    """Delete it, wherever it is attached."""
    await found.files.delete(file_id, base=version)
    return Response(status_code=204)


@router.get("/{file_id}/download", status_code=302, response_class=Response, responses=_REDIRECT)
async def download_file(file_id: UUID, found: RequestServices, disposition: Disposition = "attachment") -> Response:
    """To the bytes; ranges and conditional requests are answered there."""
    return _redirect(await found.files.url(file_id, inline=disposition == "inline"))


@router.get("/{file_id}/thumbnail", status_code=302, response_class=Response, responses=_REDIRECT)
async def get_thumbnail(file_id: UUID, found: RequestServices, size: Pixels = 256) -> Response:
    """To a preview of an image or of a PDF's first page."""
    return _redirect(await found.files.thumbnail_url(file_id, size))


def _redirect(url: str) -> Response:
    return Response(status_code=302, headers={"Location": url, "Cache-Control": "private, no-store"})
