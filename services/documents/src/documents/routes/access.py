"""Access rules: the same routes below documents and folders."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response

from common.dependencies import BEARER
from common.idempotency import json_response
from common.pagination import DEFAULT_LIMIT, Cursor, Limit
from common.preconditions import SeenVersion, etag

from ..dependencies import Rules
from ..errors import ActionForbiddenError, NodeNotFoundError
from ..schemas import (
    AccessAsked,
    AccessRead,
    AccessRequestCreate,
    AccessRequestDecision,
    AccessRequestPage,
    AccessUpdate,
    GrantUpdate,
    Principal,
)
from ..service import AccessService

router = APIRouter(tags=["access"], dependencies=[BEARER])

Grantee = Annotated[Principal, Path(description="`user:<id>` or `group:<id>`")]


@router.get("/access", response_model=AccessRead)
async def get_access(node_id: UUID, rules: Rules) -> Response:
    """Who may do what here, and where each right comes from."""
    return await _described(node_id, rules)


@router.put("/access", response_model=AccessRead)
async def set_access(node_id: UUID, body: AccessUpdate, rules: Rules, version: SeenVersion) -> Response:
    """Restrict or open, and replace all grants given here; with `If-Match`, unless somebody did so since."""
    grants = None if body.grants is None else {key: role.value for key, role in body.grants.items()}
    await rules.put(node_id, body.restricted, grants, base=version)
    return await _changed(node_id, rules)


@router.delete("/access", status_code=204)
async def clear_access(node_id: UUID, rules: Rules) -> Response:
    """Take back all rules given here: what is above counts again."""
    await rules.clear(node_id)
    return Response(status_code=204)


@router.put("/access/{principal}", response_model=AccessRead)
async def grant(node_id: UUID, principal: Grantee, body: GrantUpdate, rules: Rules) -> Response:
    """Give a user or group a role here and below."""
    await rules.grant(node_id, principal, body.role.value)
    return await _changed(node_id, rules)


@router.delete("/access/{principal}", status_code=204)
async def revoke(node_id: UUID, principal: Grantee, rules: Rules) -> Response:
    """Take back what was granted here; it ends everywhere within a second."""
    await rules.revoke(node_id, principal)
    return Response(status_code=204)


@router.post("/access-requests", status_code=202, response_model=AccessAsked)
async def ask(node_id: UUID, body: AccessRequestCreate, rules: Rules) -> Response:
    """Ask for access; the answer does not tell whether there is such a thing."""
    await rules.ask(node_id, body.role.value, body.message)
    return json_response({"status": "asked"}, 202)


@router.get("/access-requests", response_model=AccessRequestPage)
async def list_requests(node_id: UUID, rules: Rules, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Response:
    """Open requests, oldest first."""
    items, next_cursor = await rules.list_requests(node_id, cursor, limit)
    return json_response({"items": items, "next_cursor": next_cursor})


@router.post("/access-requests/{request_id}/approve", status_code=204)
async def approve(node_id: UUID, request_id: UUID, body: AccessRequestDecision, rules: Rules) -> Response:
    """Give what was asked for, or another role."""
    await rules.decide(node_id, request_id, role=body.role and body.role.value, approved=True)
    return Response(status_code=204)


@router.post("/access-requests/{request_id}/dismiss", status_code=204)
async def dismiss(node_id: UUID, request_id: UUID, rules: Rules) -> Response:
    """Close a request without giving anything."""
    await rules.decide(node_id, request_id, role=None, approved=False)
    return Response(status_code=204)


async def _described(node_id: UUID, rules: AccessService) -> Response:
    found = await rules.describe(node_id)
    return json_response(found, headers={"ETag": etag(found["version"])})


async def _changed(node_id: UUID, rules: AccessService) -> Response:
    """The rules after a change; nothing for somebody who has just taken back their own access."""
    try:
        return await _described(node_id, rules)
    except (NodeNotFoundError, ActionForbiddenError):
        return Response(status_code=204)
