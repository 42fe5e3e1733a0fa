"""Devices: register, list, remove."""

from typing import Any
from uuid import UUID

from common.auth import Principal
from common.client import InternalClient, PeerNotFoundError
from common.database import Row

from ..errors import (
    DeviceNotBoundError,
    DeviceNotFoundError,
    DeviceRevokedError,
    DeviceTakenError,
    TooManyDevicesError,
)
from ..repository import DeviceRepository
from .hub import Hub

MAX_DEVICES = 200


def check_device(device: Row | None, principal: Principal) -> Row:
    """The device, if it is the caller's, alive and bound to this session.

    Raises `DeviceNotFoundError`, `DeviceRevokedError`, `DeviceNotBoundError`.
    """
    if device is None:
        raise DeviceNotFoundError
    if device["removed_at"]:
        raise DeviceRevokedError
    if device["session_id"] != principal.session_id:
        raise DeviceNotBoundError
    return device


class DeviceService:
    """The caller's devices."""

    def __init__(
        self, devices: DeviceRepository, client: InternalClient, hub: Hub, principal: Principal, user_token: str
    ) -> None:
        self._devices = devices
        self._user_token = user_token
        self._client = client
        self._hub = hub
        self._principal = principal

    async def put(self, device_id: UUID, name: str, platform: str, app_version: str | None) -> Row:
        """Register, or bind to this session.

        Raises `DeviceTakenError`, `DeviceRevokedError`, `TooManyDevicesError`.
        """
        device: dict[str, Any] = {"id": device_id, "name": name, "platform": platform, "app_version": app_version}
        row = await self._devices.put({**device, "session": self._principal.session_id})
        if row is None:
            raise DeviceTakenError
        if row["removed_at"]:
            raise DeviceRevokedError
        if row["made"] and await self._devices.count() > MAX_DEVICES:
            raise TooManyDevicesError(f"{MAX_DEVICES} devices at most: remove one")
        return row

    async def get(self, device_id: UUID) -> Row:
        """One living device. Raises `DeviceNotFoundError`."""
        row = await self._devices.find(device_id)
        if row is None or row["removed_at"]:
            raise DeviceNotFoundError
        return row

    async def list_all(self) -> list[Row]:
        """Living devices."""
        return await self._devices.list_all()

    async def remove(self, device_id: UUID) -> None:
        """Remove a device for good; its session ends, unless it is the caller's own or other devices use it too.

        Raises `DeviceNotFoundError`, `PeerUnavailableError`.
        """
        row = await self._devices.find(device_id)
        if row is None:
            raise DeviceNotFoundError
        shared = await self._devices.shares_session(device_id)
        await self._devices.release()
        if not shared and row["session_id"] != self._principal.session_id:
            await self._end_session(row["session_id"])
        await self._devices.remove(device_id, lambda: self._hub.removed(device_id))

    async def _end_session(self, session_id: UUID) -> None:
        try:
            await self._client.post(
                "auth-gateway", f"/internal/sessions/{session_id}/end", {}, acting_user=self._principal.user_id,
                user_token=self._user_token,
            )  # fmt: skip
        except PeerNotFoundError:
            return  # it had ended already
