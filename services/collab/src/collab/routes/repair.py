"""What an operator does to a damaged document (runbook: docs/collab.md). Never routed publicly."""

from uuid import UUID

from fastapi import APIRouter

from common.dependencies import internal_caller

from ..dependencies import Openings

router = APIRouter(prefix="/internal/documents/{document_id}")


@router.post("/lineage", dependencies=[internal_caller("collab")])
async def begin_anew(document_id: UUID, openings: Openings) -> dict[str, int]:
    """Give a document a new life from its newest version; the lineage it has now."""
    return {"lineage": await openings.begin_anew(document_id)}
