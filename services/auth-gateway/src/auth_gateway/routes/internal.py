"""What other services may ask: keys, memberships, revocations. Never routed publicly."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request

from common import revocations
from common.dependencies import ActingUser, internal_caller

from ..dependencies import SCHEMA, ActingAccounts, Facts

router = APIRouter(prefix="/internal", dependencies=[internal_caller()])


@router.get("/jwks")
async def get_jwks(request: Request) -> dict[str, Any]:
    """Public keys."""
    return dict(request.app.state.resources.issuer.jwks())


@router.get("/workspaces/{workspace_id}/members/{user_id}")
async def get_membership(workspace_id: UUID, user_id: UUID, facts: Facts) -> dict[str, Any]:
    """A membership as a versioned fact, ended ones included."""
    return await facts.membership(workspace_id, user_id)


@router.get("/users/{user_id}/access")
async def get_user_access(user_id: UUID, facts: Facts) -> dict[str, list[dict[str, Any]]]:
    """All memberships and groups of a user as versioned facts, ended ones included, and their workspaces."""
    return await facts.access_of(user_id)


@router.post("/sessions/{session_id}/end", dependencies=[internal_caller("sync")])
async def end_session(session_id: UUID, user: ActingUser, accounts: ActingAccounts) -> dict[str, Any]:
    """Sign out the device somebody has removed."""
    await accounts.end_session(user, session_id)
    return {}


router.include_router(revocations.routes(SCHEMA))
