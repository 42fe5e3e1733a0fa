"""Live documents over plain HTTP."""

import binascii
from base64 import urlsafe_b64decode
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from common.dependencies import BEARER

from .. import schemas
from ..dependencies import Live, People
from ..domain.tickets import LIFE_SECONDS
from ..errors import UpdateInvalidError

router = APIRouter(prefix="/v1/collab", tags=["collab"], dependencies=[BEARER])

BINARY = "application/octet-stream"
_UPDATE = {"content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}}
MAX_STATE_VECTOR = 8192

StateVector = Annotated[
    str, Query(max_length=MAX_STATE_VECTOR, description="A Yjs state vector, base64url; without it everything")
]


@router.post("/documents/{document_id}/ticket")
async def create_ticket(document_id: UUID, live: Live) -> schemas.Ticket:
    """A ticket to open the document live; fetch a new one when a socket closes with 4501."""
    admission, ticket = await live.ticket(document_id)
    return schemas.Ticket(
        ticket=ticket,
        expires_in=LIFE_SECONDS,
        url=f"/v1/collab/ws/{document_id}",
        hocuspocus_url="/v1/collab/hocuspocus",
        kind=admission.kind,
        role=admission.role,
        can_edit=admission.edits,
    )


@router.get("/documents/{document_id}/presence")
async def list_people(document_id: UUID, people: People) -> schemas.People:
    """Who has the document open now."""
    return schemas.People.model_validate({"people": await people.in_document(document_id)})


@router.get("/workspaces/{workspace_id}/presence")
async def list_people_of_workspace(workspace_id: UUID, people: People) -> schemas.People:
    """Who has which of the workspace's documents open now, of those the caller may read."""
    return schemas.People.model_validate({"people": await people.in_workspace(workspace_id)})


@router.get("/documents/{document_id}/state", response_class=Response, responses={200: _UPDATE})
async def get_state(document_id: UUID, live: Live, since: StateVector = "") -> Response:
    """What somebody with this state vector lacks, as one Yjs update (encoding 1); all of it is durable."""
    room, update = await live.state(document_id, _decoded(since))
    headers = {"X-Collab-Lineage": str(room.origin.lineage), "X-Collab-Seq": str(room.seq)}
    return Response(update, media_type=BINARY, headers=headers)


@router.post("/documents/{document_id}/updates", openapi_extra={"requestBody": {"required": True, **_UPDATE}})
async def write_update(document_id: UUID, request: Request, live: Live) -> schemas.Written:
    """Take a Yjs update, durable when this answers; the same update again changes nothing."""
    return schemas.Written(seq=await live.write(document_id, await request.body()))


@router.post("/documents/{document_id}/copies", openapi_extra={"requestBody": {"required": True, **_UPDATE}})
async def hand_in_copy(document_id: UUID, request: Request, live: Live) -> schemas.Copy:
    """Keep what a refused copy holds (close code 4409): its whole Yjs state becomes a document beside this one."""
    token = request.headers["authorization"].partition(" ")[2]
    return schemas.Copy(document_id=await live.hand_in(document_id, await request.body(), token))


@router.get("/documents/{document_id}/status")
async def get_status(document_id: UUID, live: Live) -> schemas.Status:
    """How the live document stands against its versions."""
    return schemas.Status.model_validate(await live.status(document_id))


def _decoded(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error) as error:
        raise UpdateInvalidError("`since` is not base64url") from error
