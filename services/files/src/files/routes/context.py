"""Context files: what the AI reads along."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from common.dependencies import BEARER
from common.idempotency import json_response
from common.pagination import DEFAULT_LIMIT, Cursor, Limit

from .. import schemas
from ..dependencies import Key, RequestServices
from ..schemas import ContextFileCreate, ContextFilePage, ContextFileRead, FileText

router = APIRouter(prefix="/v1/context-files", tags=["context files"], dependencies=[BEARER])

MaxTokens = Annotated[int | None, Query(ge=1, le=10_000_000, description="Tokens of text at most")]


@router.post("", status_code=201, response_model=ContextFileRead)
async def create_context_file(body: ContextFileCreate, found: RequestServices, key: Key) -> Response:
    """Let the AI read a file along: for the caller, with a document, or in the whole workspace."""
    row = await found.contexts.create(body, key.claim)
    return await key.keep(json_response(schemas.context_file(row), 201))


@router.get("", response_model=ContextFilePage)
async def list_context_files(
    found: RequestServices,
    workspace_id: UUID,
    document_id: UUID | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """A workspace's context files; with a document, those the AI reads along with it."""
    items, next_cursor = await found.contexts.list_page(workspace_id, document_id, cursor=cursor, limit=limit)
    return json_response({"items": list(map(schemas.context_file, items)), "next_cursor": next_cursor})


@router.get("/{context_file_id}", response_model=ContextFileRead)
async def get_context_file(context_file_id: UUID, found: RequestServices) -> Response:
    """One context file."""
    return json_response(schemas.context_file(await found.contexts.get(context_file_id)))


@router.delete("/{context_file_id}", status_code=204)
async def delete_context_file(context_file_id: UUID, found: RequestServices) -> Response:
    """The AI reads it no more; the file itself stays."""
    await found.contexts.delete(context_file_id)
    return Response(status_code=204)


@router.get("/{context_file_id}/text", response_model=FileText)
async def get_text(context_file_id: UUID, found: RequestServices, max_tokens: MaxTokens = None) -> Response:
    """Its text, page by page, as far as the tokens go."""
    file, pages, more = await found.contexts.text(context_file_id, max_tokens)
    return json_response(schemas.text(file, pages, truncated=more))
