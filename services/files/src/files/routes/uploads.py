"""Uploads: begun here, sent to signed URLs, completed here."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response

from common.dependencies import BEARER
from common.idempotency import json_response
from common.objects import Signed

from .. import domain, schemas
from ..dependencies import Completions, Key, RequestServices
from ..schemas import FileRead, PartsWanted, SignedParts, UploadBegun, UploadCreate, UploadRead

router = APIRouter(prefix="/v1/files/uploads", tags=["uploads"], dependencies=[BEARER])


@router.post("", status_code=201, response_model=UploadBegun)
async def begin_upload(body: UploadCreate, found: RequestServices, key: Key) -> Response:
    """Begin an upload; if the caller can read a file with these bytes already, they need not be sent."""
    begun = await found.uploads.begin(body, key.claim)
    if begun.file:
        return await key.keep(json_response({"file_id": begun.file["id"], "deduplicated": True}, 201))
    upload = begun.upload or {}
    answer = {
        "upload_id": upload["id"], "file_id": upload["file_id"], "deduplicated": False,
        "mode": "multipart" if upload["store_upload"] else "single", "part_size": upload["part_size"],
        "parts": domain.part_count(upload["size"], upload["part_size"]),
        "urls": _requests(begun.requests), "expires_at": upload["expires_at"],
    }  # fmt: skip
    return await key.keep(json_response(answer, 201, {"Location": f"/v1/files/uploads/{upload['id']}"}))


@router.get("/{upload_id}", response_model=UploadRead)
async def get_upload(upload_id: UUID, found: RequestServices) -> Response:
    """How far an upload is: what to send after an interruption."""
    upload, parts = await found.uploads.standing(upload_id)
    count = domain.part_count(upload["size"], upload["part_size"])
    received = [{"part_number": one.number, "size": one.size} for one in parts]
    return json_response(schemas.upload(upload, count, received))


@router.post("/{upload_id}/parts", response_model=SignedParts)
async def sign_parts(upload_id: UUID, body: PartsWanted, found: RequestServices) -> Response:
    """More URLs, or new ones."""
    return json_response({"urls": _requests(await found.uploads.sign(upload_id, body.part_numbers))})


@router.post("/{upload_id}/complete", response_model=FileRead)
async def complete_upload(upload_id: UUID, completions: Completions) -> Response:
    """Verify size, SHA-256 and type of what was sent and make it a file; doing so again gives the same file."""
    return json_response(schemas.file(await completions.complete(upload_id)))


@router.delete("/{upload_id}", status_code=204)
async def abort_upload(upload_id: UUID, completions: Completions) -> Response:
    """Forget the upload and what was sent."""
    await completions.abort(upload_id)
    return Response(status_code=204)


def _requests(signed: Sequence[tuple[int, int, Signed]]) -> list[dict[str, Any]]:
    return [
        {
            "part_number": number, "size": size, "method": one.method, "url": one.url, "headers": dict(one.headers),
        }
        for number, size, one in signed
    ]  # fmt: skip
