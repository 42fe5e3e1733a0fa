"""Invitations to workspaces."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response

from common.idempotency import json_response
from common.pagination import DEFAULT_LIMIT, Cursor, Limit

from ..dependencies import Invitations, Key, PublicFacts
from ..schemas import (
    InvitationCreate,
    InvitationPage,
    InvitationPreview,
    InvitationRead,
    InvitationResult,
    InvitationResults,
    InvitationsBody,
    WorkspaceRead,
)
from .workspaces import shown

router = APIRouter(prefix="/v1", tags=["invitations"])
InvitationToken = Annotated[str, Path(max_length=200, pattern=r"^[A-Za-z0-9_-]+$")]


@router.post(
    "/workspaces/{workspace_id}/invitations", status_code=201, response_model=InvitationRead | InvitationResults
)
async def create_invitation(workspace_id: UUID, body: InvitationsBody, invitations: Invitations, key: Key) -> Response:
    """Invite somebody by mail, or several at once with a result for each (admins)."""
    await key.claim()
    made: InvitationRead | InvitationResults
    if isinstance(body, InvitationCreate):
        made = InvitationRead(**await invitations.invite(workspace_id, body))
    else:
        results = await invitations.invite_all(workspace_id, body.invitations)
        made = InvitationResults(items=[InvitationResult.model_validate(result) for result in results])
    return await key.keep(json_response(made.model_dump(mode="json"), 201))


@router.get("/workspaces/{workspace_id}/invitations")
async def list_invitations(
    workspace_id: UUID, invitations: Invitations, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> InvitationPage:
    """Invitations, newest first (admins)."""
    rows, next_cursor = await invitations.list_page(workspace_id, cursor, limit)
    return InvitationPage(items=[InvitationRead(**row) for row in rows], next_cursor=next_cursor)


@router.delete("/workspaces/{workspace_id}/invitations/{invitation_id}", status_code=204)
async def revoke_invitation(workspace_id: UUID, invitation_id: UUID, invitations: Invitations) -> None:
    """Withdraw an invitation (admins)."""
    await invitations.revoke(workspace_id, invitation_id)


@router.post("/workspaces/{workspace_id}/invitations/{invitation_id}/resend")
async def resend_invitation(workspace_id: UUID, invitation_id: UUID, invitations: Invitations) -> InvitationRead:
    """Mail an invitation again: with a new link, the old one is dead (admins)."""
    return InvitationRead(**await invitations.resend(workspace_id, invitation_id))


@router.get("/invitations/{token}")
async def get_invitation(token: InvitationToken, facts: PublicFacts) -> InvitationPreview:
    """What an invitation is for, by its mailed secret."""
    return InvitationPreview(**await facts.invitation(token))


@router.post("/invitations/{token}/accept")
async def accept_invitation(token: InvitationToken, invitations: Invitations) -> WorkspaceRead:
    """Join the workspace the invitation is for."""
    return shown(await invitations.accept(token))
