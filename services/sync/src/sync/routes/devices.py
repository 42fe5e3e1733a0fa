"""Devices, their operations, their conflicts."""

from uuid import UUID

from fastapi import APIRouter, Response

from common.idempotency import json_response
from common.pagination import DEFAULT_LIMIT, Cursor, Limit

from .. import schemas
from ..dependencies import Conflicts, Devices, Limits, Protocol, Pushes
from ..schemas import ConflictPage, DevicePage, DevicePut, DeviceRead, PushRequest, PushResults, Resolution, Resolved
from . import answers

router = APIRouter()


@router.put("/devices/{device_id}", response_model=DeviceRead, responses={201: {"model": DeviceRead}})
async def put_device(
    device_id: UUID, body: DevicePut, devices: Devices, limits: Limits, _protocol: Protocol
) -> Response:
    """Register a device, or bind it to the session at hand after signing in again."""
    row = await devices.put(device_id, body.name, body.platform, body.app_version)
    return json_response(schemas.device(row) | {"limits": limits}, 201 if row["made"] else 200)


@router.get("/devices", response_model=DevicePage)
async def list_devices(devices: Devices) -> Response:
    """The caller's devices, seen last first."""
    return json_response({"items": [schemas.device(row) for row in await devices.list_all()]})


@router.get("/devices/{device_id}", response_model=DeviceRead)
async def get_device(device_id: UUID, devices: Devices, limits: Limits) -> Response:
    """One of them."""
    return json_response(schemas.device(await devices.get(device_id)) | {"limits": limits})


@router.delete("/devices/{device_id}", status_code=204)
async def remove_device(device_id: UUID, devices: Devices) -> None:
    """Remove a device for good; its session and streams end, unless the session is the one that asks."""
    await devices.remove(device_id)


@router.post("/push", response_model=PushResults)
async def push(body: PushRequest, pushes: Pushes, _protocol: Protocol) -> Response:
    """Hand in operations, in order; each has a result, and happens once however often it comes."""
    results = await pushes.push(body.device_id, [operation.as_sent() for operation in body.ops])
    return json_response({"results": results, "after_write": answers.after_write(results)})


@router.get("/conflicts", response_model=ConflictPage)
async def list_conflicts(conflicts: Conflicts, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Response:
    """Texts that could not be merged and that nobody has settled, oldest first."""
    rows, next_cursor = await conflicts.list_page(cursor, limit)
    return json_response({"items": [schemas.conflict(row) for row in rows], "next_cursor": next_cursor})


@router.post("/conflicts/{conflict_id}/resolve", response_model=Resolved)
async def resolve_conflict(conflict_id: UUID, body: Resolution, conflicts: Conflicts) -> Response:
    """Settle one: keep the document (`theirs`), take the copy's text (`mine`), or a merged one (`text`)."""
    seen = {"base_version": body.base_version, "copy_version": body.copy_version}
    result = await conflicts.resolve(conflict_id, body.choice, seen, body.content)
    kept = {name: result[name] for name in ("version", "content_version", "content_hash") if name in result}
    return json_response({"id": conflict_id, "document_id": result["id"], "choice": body.choice, **kept})
