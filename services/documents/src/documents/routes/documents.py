"""Documents, their contents and versions."""

from base64 import b64encode
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from common.access import RANKED
from common.auth import Principal
from common.dependencies import BEARER
from common.errors import UnsupportedMediaTypeError
from common.idempotency import json_response
from common.pagination import DEFAULT_LIMIT, Cursor, Limit
from common.preconditions import RequiredVersion, SeenVersion, etag, not_modified

from .. import schemas
from ..dependencies import Branches, Contents, Documents, Key, RequestServices, WriteTerms
from ..schemas import (
    ContentEdit,
    ContentWrite,
    Deletion,
    DocumentCreate,
    DocumentDuplicate,
    DocumentMove,
    DocumentPage,
    DocumentRead,
    DocumentSaved,
    DocumentUpdate,
    Include,
    Sort,
    State,
    VersionPage,
    VersionRead,
)
from ..service import Saved

router = APIRouter(prefix="/v1/documents", tags=["documents"], dependencies=[BEARER])

VersionNumber = Annotated[int, Path(ge=1, le=2**53)]
VersionQuery = Annotated[int | None, Query(ge=0, le=2**53)]
TitleQuery = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$", description="Part of the title")]
FolderQuery = Annotated[UUID | Literal["top"] | None, Query(description="What lies in this folder, or at the top")]

MARKDOWN = "text/markdown; charset=utf-8"
_MARKDOWN_BODY = {"content": {"text/markdown": {"schema": {"type": "string"}}}}
_CONTENT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "text/markdown": {"schema": {"type": "string"}},
            "application/json": {"schema": {"$ref": "#/components/schemas/ContentWrite"}},
        },
    }
}


@router.post("", status_code=201, response_model=DocumentRead)
async def create_document(body: DocumentCreate, documents: Documents, key: Key) -> Response:
    """Create a document; with `Idempotency-Key` a retry answers what the first one did."""
    head = await documents.create(body, key.claim)
    headers = {"ETag": etag(head["version"]), "Location": f"/v1/documents/{head['id']}"}
    return await key.keep(json_response(schemas.document(head), 201, headers))


@router.get("", response_model=DocumentPage)
async def list_documents(
    documents: Documents,
    workspace_id: UUID,
    folder_id: FolderQuery = None,
    q_title: TitleQuery = None,
    updated_since: datetime | None = None,
    state: State = "active",
    sort: Sort = Sort.UPDATED,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """A workspace's documents, newest change first unless `sort` says otherwise."""
    items, next_cursor = await documents.list_page(
        workspace_id,
        sort=sort.value,
        cursor=cursor,
        limit=limit,
        filters={
            "folder_id": None if folder_id == "top" else folder_id,
            "top": folder_id == "top",
            "q_title": q_title,
            "updated_since": updated_since,
            "trashed": state == "trashed",
        },
    )
    return json_response({"items": [schemas.document(item) for item in items], "next_cursor": next_cursor})


@router.get("/{document_id}", response_model=DocumentRead)
async def get_document(
    document_id: UUID, request: Request, documents: Documents, include: Include | None = None
) -> Response:
    """Metadata and abilities; `?include=content` adds the text, `Accept: text/markdown` answers it alone."""
    if "text/markdown" in request.headers.get("accept", ""):
        return await get_content(document_id, request, documents)
    if include == "content":
        head, content = await documents.read(document_id)
        return _conditional(request, head, {"content": content.decode()})
    return _conditional(request, await documents.get(document_id))


@router.get("/{document_id}/content", response_class=Response, responses={200: _MARKDOWN_BODY})
async def get_content(document_id: UUID, request: Request, documents: Documents) -> Response:
    """The exact bytes that were saved, with their `Content-Digest` (RFC 9530)."""
    head, content = await documents.read(document_id)
    tag = etag(head["version"])
    if not_modified(request, tag):
        return Response(status_code=304, headers={"ETag": tag})
    return _markdown(content, head["body_sha256"], tag)


@router.put("/{document_id}/content", response_model=DocumentSaved, openapi_extra=_CONTENT_BODY)
async def save_content(
    document_id: UUID, request: Request, contents: Contents, terms: WriteTerms, key: Key
) -> Response:
    """Replace the content seen at `If-Match`; what others wrote since is merged, an overlap is a 412."""
    return await key.keep(_saved(await contents.save(document_id, await _content(request), terms, key.claim)))


@router.patch("/{document_id}/content", response_model=DocumentSaved)
async def edit_content(
    document_id: UUID, body: ContentEdit, contents: Contents, terms: WriteTerms, key: Key
) -> Response:
    """Apply find/replace, append and prepend edits to the version seen, merged with what others wrote since."""
    return await key.keep(_saved(await contents.edit(document_id, body.edits, terms, key.claim)))


@router.patch("/{document_id}", response_model=DocumentRead)
async def update_document(
    document_id: UUID, body: DocumentUpdate, documents: Documents, version: RequiredVersion
) -> Response:
    """Change metadata; only a field somebody else changed since `If-Match` is a conflict."""
    head = await documents.update(document_id, body, base=version)
    return json_response(schemas.document(head), headers={"ETag": etag(head["version"])})


@router.post("/{document_id}/move", response_model=DocumentRead)
async def move_document(
    document_id: UUID, body: DocumentMove, found: RequestServices, version: SeenVersion
) -> Response:
    """Put into a folder, or to the top, of its workspace or another; it comes under the access rules of that place."""
    if body.workspace_id:
        head = await found.branches.move_document(
            document_id, body.workspace_id, body.folder_id, body.after, base=version
        )
    else:
        head = await found.documents.move(document_id, body.folder_id, body.after, base=version)
    return json_response(schemas.document(head), headers={"ETag": etag(head["version"])})


@router.post("/{document_id}/duplicate", status_code=201, response_model=DocumentRead)
async def duplicate_document(document_id: UUID, body: DocumentDuplicate, branches: Branches, key: Key) -> Response:
    """Copy the newest content into a new document; of a restricted one, the copy is the caller's alone."""
    head = await branches.duplicate_document(document_id, schemas.wanted_copy(body), key.claim)
    headers = {"ETag": etag(head["version"]), "Location": f"/v1/documents/{head['id']}"}
    return await key.keep(json_response(schemas.document(head), 201, headers))


@router.delete("/{document_id}", status_code=204)
async def trash_document(
    document_id: UUID, found: RequestServices, version: SeenVersion, how: Annotated[Deletion, Query()]
) -> Response:
    """Move to the trash, from which `restore` takes it back; `?permanent=true` deletes for good what is there."""
    if how.permanent:
        await found.purge.document(document_id, base=version)
    else:
        await found.documents.trash(document_id, base=version)
    return Response(status_code=204)


@router.post("/{document_id}/restore", response_model=DocumentRead)
async def restore_document(document_id: UUID, documents: Documents, version: SeenVersion) -> Response:
    """Take out of the trash."""
    head = await documents.restore(document_id, base=version)
    return json_response(schemas.document(head), headers={"ETag": etag(head["version"])})


@router.get("/{document_id}/versions", response_model=VersionPage)
async def list_versions(
    document_id: UUID, contents: Contents, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """Content versions, newest first, with their contributors."""
    items, next_cursor = await contents.list_versions(document_id, cursor=cursor, limit=limit)
    return json_response({"items": [schemas.version(item) for item in items], "next_cursor": next_cursor})


@router.get("/{document_id}/versions/{n}", response_model=VersionRead)
async def get_version(document_id: UUID, n: VersionNumber, contents: Contents) -> Response:
    """One version."""
    return json_response(schemas.version(await contents.get_version(document_id, n)))


@router.get("/{document_id}/versions/{n}/content", response_class=Response, responses={200: _MARKDOWN_BODY})
async def get_version_content(document_id: UUID, n: VersionNumber, request: Request, contents: Contents) -> Response:
    """The exact bytes of a version."""
    tag = etag(n)
    if not_modified(request, tag):
        await contents.get_version(document_id, n)
        return Response(status_code=304, headers={"ETag": tag})
    version, content = await contents.read_version(document_id, n)
    return _markdown(content, version["body_sha256"], etag(version["n"]))


@router.get(
    "/{document_id}/versions/{n}/diff", response_class=Response, responses={200: {"content": {"text/x-diff": {}}}}
)
async def diff_versions(
    document_id: UUID, n: VersionNumber, contents: Contents, against: VersionQuery = None
) -> Response:
    """Unified diff that leads to version `n` from `against` (default: the version before)."""
    return Response(await contents.diff(document_id, n, against), media_type="text/x-diff; charset=utf-8")


@router.post("/{document_id}/versions/{n}/restore", response_model=DocumentSaved)
async def restore_version(
    document_id: UUID, n: VersionNumber, contents: Contents, version: SeenVersion, key: Key
) -> Response:
    """Make an old version's content the newest version; nothing is deleted."""
    return await key.keep(_saved(await contents.restore_version(document_id, n, version, key.claim)))


async def _content(request: Request) -> bytes:
    media_type, _, parameters = request.headers.get("content-type", "text/markdown").lower().partition(";")
    media_type = media_type.strip()
    if "charset" in parameters and "utf-8" not in parameters and "utf8" not in parameters:
        raise UnsupportedMediaTypeError("Markdown is UTF-8")
    if media_type in ("text/markdown", "text/plain"):
        return await request.body()
    if media_type != "application/json":
        raise UnsupportedMediaTypeError("send text/markdown, or application/json with {content}")
    try:
        return ContentWrite.model_validate_json(await request.body()).content.encode()
    except ValidationError as error:
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in error.errors()]) from error


def _saved(saved: Saved) -> Response:
    content = {**schemas.document(saved.head), "merged": saved.merged}
    return json_response(content, headers={"ETag": etag(saved.head["version"])})


def _conditional(request: Request, head: dict[str, Any], more: dict[str, Any] | None = None) -> Response:
    viewer: Principal = request.state.user
    tag = etag(head["version"], f"{viewer.user_id.hex[-8:]}{RANKED.index(head['role']):x}")
    if not_modified(request, tag):
        return Response(status_code=304, headers={"ETag": tag})
    return json_response({**schemas.document(head), **(more or {})}, headers={"ETag": tag})


def _markdown(content: bytes, sha256: str, tag: str) -> Response:
    digest = b64encode(bytes.fromhex(sha256)).decode()
    return Response(content, media_type=MARKDOWN, headers={"ETag": tag, "Content-Digest": f"sha-256=:{digest}:"})
