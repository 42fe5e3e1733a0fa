"""What other services may ask: access roots as facts, revocations, texts, operations. Never routed publicly."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from common import revocations
from common.dependencies import internal_caller
from common.errors import BadRequestError

from ..dependencies import SCHEMA, Operations, RootFacts, Texts
from ..schemas import operations as schemas
from . import live

MAX_ROOTS = 100

router = APIRouter(prefix="/internal", dependencies=[internal_caller()])
router.include_router(revocations.routes(SCHEMA))


@router.get("/roots")
async def list_roots(
    ids: Annotated[str, Query(max_length=4000, description="Up to 100 ids, separated by commas")], roots: RootFacts
) -> dict[str, list[dict[str, Any]]]:
    """Access roots with their grants as versioned facts, removed ones included; unknown ones are left out."""
    try:
        wanted = [UUID(id_) for id_ in ids.split(",")]
    except ValueError as error:
        raise BadRequestError("ids: UUIDs, separated by commas") from error
    return {"roots": await roots.facts(wanted[:MAX_ROOTS])}


@router.post("/documents/ops", dependencies=[internal_caller("sync", "collab")])
async def carry_out(body: schemas.Operations, operations: Operations) -> schemas.OperationResults:
    """Carry out operations of a device, or of a service for its user, each once; none if the numbers are another's."""
    results = await operations.carry_out(body.device_id, body.known_up_to, body.ops, body.deadline_ms / 1000)
    return schemas.OperationResults(results=results or [], forked=results is None)


@router.post("/documents/bodies", dependencies=[internal_caller("sync")])
async def read_bodies(body: schemas.Bodies, texts: Texts) -> schemas.Texts:
    """Exact texts of content versions, of those the user may read and that are small."""
    return schemas.Texts(bodies=await texts.read(body.items))


router.include_router(live.heads)
router.include_router(live.router)
