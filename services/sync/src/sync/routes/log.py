"""The audit log."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from common.idempotency import json_response
from common.pagination import DEFAULT_LIMIT, Cursor, Limit

from .. import schemas
from ..dependencies import Audit
from ..schemas import LogPage, Verification

router = APIRouter()

WorkspaceQuery = Annotated[
    UUID | None, Query(description="Whose log; without it the caller's own sign-ins and changes")
]
RootQuery = Annotated[
    UUID | None, Query(description="A folder or document of the workspace with access rules of its own")
]
TypeQuery = Annotated[str | None, Query(max_length=100, pattern=r"^[a-z0-9.-]*$", description="Beginning of the type")]


@router.get("/log", response_model=LogPage)
async def list_log(
    audit: Audit,
    workspace_id: WorkspaceQuery = None,
    root_id: RootQuery = None,
    document_id: UUID | None = None,
    actor: UUID | None = None,
    type_: Annotated[TypeQuery, Query(alias="type")] = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """The audit log, newest first: a workspace's for its owners and admins, or one's own."""
    filters = {"document": document_id, "actor": actor, "type": type_, "since": since, "until": until}
    rows, next_cursor = await audit.list_page(workspace_id, root_id, filters, cursor, limit)
    return json_response({"items": [schemas.entry(row) for row in rows], "next_cursor": next_cursor})


@router.get("/log/verify")
async def verify_log(
    audit: Audit,
    workspace_id: WorkspaceQuery = None,
    root_id: RootQuery = None,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
) -> Verification:
    """Recompute the hash chain, at most 100,000 entries a call; go on with `after` while not `complete`."""
    checked, complete = await audit.verify(workspace_id, root_id, after)
    return Verification(
        intact=checked.broken_at is None,
        complete=complete,
        after=after,
        seq=checked.seq,
        hash=checked.hash.hex(),
        erased=checked.erased,
        broken_at=checked.broken_at,
    )
