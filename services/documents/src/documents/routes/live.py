"""What live rooms need of their documents, and files of where they lie: on the internal port."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from common.dependencies import internal_caller
from common.idempotency import json_response

from ..dependencies import Live
from ..schemas import live as schemas

router = APIRouter(prefix="/documents/{document_id}", dependencies=[internal_caller("collab")])
heads = APIRouter(prefix="/documents/{document_id}", dependencies=[internal_caller("collab", "files", "ai-proxy")])

VersionNumber = Annotated[int, Path(ge=1, le=2**53)]
Known = Annotated[int, Query(ge=0, le=2**53, description="Content version the caller has; 0: none")]
WithText = Annotated[bool, Query(description="Whether the text is wanted at all")]
Limit = Annotated[int, Query(ge=1, le=schemas.MAX_VERSIONS)]


@heads.get("/head", response_model=schemas.LiveHead)
async def get_head(document_id: UUID, live: Live, known: Known = 0, text: WithText = True) -> Response:
    """The document as it is, in the trash or not; its text unless the caller has it or does not want it."""
    return json_response(schemas.head(*await live.head(document_id, known, text=text)))


@router.get("/versions", response_model=schemas.LiveVersions)
async def list_versions(
    document_id: UUID, live: Live, after: Known = 0, limit: Limit = schemas.MAX_VERSIONS
) -> Response:
    """Content versions after number `after`, in order."""
    newest, versions = await live.versions(document_id, after=after, limit=limit)
    return json_response({"content_version": newest, "versions": list(map(schemas.version, versions))})


@router.get("/versions/{n}/text", response_model=schemas.LiveText)
async def get_text(document_id: UUID, n: VersionNumber, live: Live) -> Response:
    """The exact text of a content version."""
    return json_response({"content": await live.text(document_id, n)})


@router.post("/export", response_model=schemas.ExportSaved | schemas.ExportRefused)
async def export(document_id: UUID, body: schemas.Export, live: Live) -> Response:
    """Make a room's text the next version if its base is current: never merged, once for each `lineage` and `seq`."""
    answer = await live.export(document_id, body)
    if answer.version is not None:
        return json_response({"saved": True, "version": answer.version, "content_version": answer.content_version})
    versions = list(map(schemas.version, answer.versions))
    refused = {"saved": False, "content_version": answer.content_version, "content": answer.content}
    return json_response({**refused, "versions": versions})


@router.post("/hold")
async def hold(document_id: UUID, body: schemas.HoldRequest, live: Live) -> schemas.Hold:
    """Let everybody else who writes content wait, for a second of every three at most."""
    until, next_ = await live.hold(document_id, body.seconds)
    return schemas.Hold(until=until, next=next_)
