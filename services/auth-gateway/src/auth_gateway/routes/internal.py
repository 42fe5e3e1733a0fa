"""What other services may ask: keys, memberships, revocations. Never routed publicly."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request

from common.dependencies import internal_caller

from ..dependencies import Facts

router = APIRouter(prefix="/internal", dependencies=[internal_caller()])


@router.get("/jwks")
async def get_jwks(request: Request) -> dict[str, Any]:
    """Public keys."""
    return dict(request.app.state.resources.issuer.jwks())


@router.get("/workspaces/{workspace_id}/members/{user_id}")
async def get_membership(workspace_id: UUID, user_id: UUID, facts: Facts) -> dict[str, Any]:
    """A membership as a versioned fact, ended ones included."""
    return await facts.membership(workspace_id, user_id)


@router.get("/revocations")
async def list_revocations(since: Annotated[float, Query(ge=0, le=4e9)], facts: Facts) -> dict[str, dict[str, float]]:
    """Live revocations written since (Unix seconds), entry -> expiry."""
    return {"entries": await facts.revocations_since(since)}
