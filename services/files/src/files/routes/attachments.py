"""Attachments: files at documents."""

from uuid import UUID

from fastapi import APIRouter, Response

from common.dependencies import BEARER
from common.idempotency import json_response

from .. import schemas
from ..dependencies import Key, RequestServices
from ..schemas import AttachmentCreate, AttachmentPage, AttachmentRead

router = APIRouter(prefix="/v1/files/attachments", tags=["attachments"], dependencies=[BEARER])


@router.post("", status_code=201, response_model=AttachmentRead)
async def attach_file(body: AttachmentCreate, found: RequestServices, key: Key) -> Response:
    """Attach a file to a document: from now on who reads the document reads the file."""
    row = await found.files.attach(body.file_id, body.document_id, key.claim)
    return await key.keep(json_response(schemas.attachment(row), 201))


@router.get("", response_model=AttachmentPage)
async def list_attachments(document_id: UUID, found: RequestServices) -> Response:
    """All files at a document."""
    return json_response({"items": list(map(schemas.attachment, await found.files.attached(document_id)))})


@router.delete("/{attachment_id}", status_code=204)
async def detach_file(attachment_id: UUID, found: RequestServices) -> Response:
    """Take a file off a document; one that is attached to nothing is deleted some days later."""
    await found.files.detach(attachment_id)
    return Response(status_code=204)
