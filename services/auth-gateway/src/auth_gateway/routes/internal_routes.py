"""What other services may ask: keys, memberships, revocations. Never routed publicly."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request

from common.dependencies import OpenTransaction, internal_caller

from ..errors import MemberNotFoundError
from ..repository import AccountRepository, WorkspaceRepository

router = APIRouter(prefix="/internal", dependencies=[internal_caller()])


@router.get("/jwks")
async def get_jwks(request: Request) -> dict[str, Any]:
    """Public keys."""
    return dict(request.app.state.resources.issuer.jwks())


@router.get("/workspaces/{workspace_id}/members/{user_id}")
async def get_membership(workspace_id: UUID, user_id: UUID, transaction: OpenTransaction) -> dict[str, Any]:
    """A membership as a versioned fact, ended ones included."""
    await transaction.act_as(user_id)
    member = await WorkspaceRepository(transaction).find_member(workspace_id, user_id)
    if member is None:
        raise MemberNotFoundError
    return member


@router.get("/revocations")
async def list_revocations(
    since: Annotated[float, Query(ge=0, le=4e9)], transaction: OpenTransaction
) -> dict[str, dict[str, float]]:
    """Live revocations written since (Unix seconds), entry -> expiry."""
    entries = await AccountRepository(transaction).revoked_since(datetime.fromtimestamp(max(since, 0), UTC))
    return {"entries": entries}
