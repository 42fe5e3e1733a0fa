"""Own keys."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from common.dependencies import BEARER
from common.idempotency import json_response

from .. import schemas
from ..dependencies import Keys
from ..schemas import KeyRead, KeyWrite

router = APIRouter(prefix="/v1/ai/keys", tags=["ai keys"], dependencies=[BEARER])

ProviderName = Annotated[str, Path(max_length=64, pattern=r"^[a-z0-9-]+$")]
Workspace = Annotated[UUID | None, Query(description="The workspace's key; without, the caller's")]


@router.get("/{provider}", response_model=KeyRead)
async def get_key(provider: ProviderName, keys: Keys, workspace_id: Workspace = None) -> Response:
    """That there is one, and its last four characters."""
    return json_response(schemas.key(await keys.get(provider, workspace_id)))


@router.put("/{provider}", response_model=KeyRead)
async def put_key(provider: ProviderName, body: KeyWrite, keys: Keys, workspace_id: Workspace = None) -> Response:
    """Keep one, encrypted: calls use it from now on."""
    return json_response(schemas.key(await keys.put(provider, workspace_id, body.key)))


@router.delete("/{provider}", status_code=204)
async def delete_key(provider: ProviderName, keys: Keys, workspace_id: Workspace = None) -> Response:
    """Forget it."""
    await keys.delete(provider, workspace_id)
    return Response(status_code=204)
