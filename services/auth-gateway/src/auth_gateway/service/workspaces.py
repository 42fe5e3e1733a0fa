"""Workspaces: made, configured, joined by domain, deleted and restored."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from common import pagination
from common.access import Action, Role
from common.contracts.auth_gateway import WorkspaceCreated, WorkspaceDeleted, WorkspaceRestored, WorkspaceUpdated
from common.database import Row
from common.errors import PreconditionFailedError
from common.identifiers import uuid7
from common.revocations import Announcer

from .. import domain
from ..errors import (
    ConfirmationMissingError,
    EmailNotVerifiedError,
    RoleInsufficientError,
    WorkspaceNotFoundError,
)
from ..repository import WorkspaceRepository
from .memberships import Memberships


class WorkspaceService:
    """Workspaces of one caller in one request."""

    def __init__(
        self, workspaces: WorkspaceRepository, memberships: Memberships, announcer: Announcer, grace: timedelta
    ) -> None:
        self._workspaces = workspaces
        self._memberships = memberships
        self._announcer = announcer
        self._grace = grace

    async def create(self, name: str) -> Row:
        """Open a workspace; its creator becomes the owner."""
        workspace_id = uuid7()
        await self._workspaces.create(workspace_id, name, self._memberships.me)
        event = WorkspaceCreated(workspace_id=workspace_id, name=name, version=1, ai_models=None)
        await self._memberships.record(event, workspace_id, 1)
        await self._memberships.begin(workspace_id, self._memberships.me, "owner")
        return await self.get(workspace_id)

    async def get(self, workspace_id: UUID) -> Row:
        """A workspace of the caller's. Raises `WorkspaceNotFoundError`."""
        return await self._memberships.get(workspace_id)

    async def list_page(self, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """A page of the caller's workspaces, by name."""
        after = pagination.decode(cursor, str, UUID) if cursor else None
        rows = await self._workspaces.list_of(self._memberships.me, after, limit)
        return pagination.page(rows, limit, "name", "id")

    async def list_deleted(self, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """A page of deleted workspaces the caller can restore, by name, with the time until then."""
        after = pagination.decode(cursor, str, UUID) if cursor else None
        rows = await self._workspaces.list_deleted(self._memberships.me, self._grace, after, limit)
        rows = [{**row, "purge_at": row["deleted_at"] + self._grace} for row in rows]
        return pagination.page(rows, limit, "name", "id")

    async def update(self, workspace_id: UUID, values: dict[str, Any], base: int | None) -> Row:
        """Change name and settings; with `base`, only if nobody changed the workspace since.

        Raises `RoleInsufficientError`, `PreconditionFailedError`.
        """
        workspace = await self._memberships.lock_and_require(workspace_id, Action.MANAGE)
        if base is not None and base != workspace["version"]:
            raise PreconditionFailedError(version=workspace["version"])
        changes = {name: value for name, value in values.items() if value != workspace[name]}
        if not domain.may_configure(workspace["role"], changes):
            raise RoleInsufficientError("only owners set who may join and how members sign in")
        if changes:
            version = await self._workspaces.update(workspace_id, changes)
            after = {**workspace, **changes}
            event = WorkspaceUpdated(
                workspace_id=workspace_id, name=after["name"], version=version, ai_models=after["ai_models"]
            )
            await self._memberships.record(event, workspace_id, version)
            if "ai_models" in changes:  # some may be used no more
                await self._announcer.workspace_changed(self._workspaces.transaction, workspace_id, version)
        return await self.get(workspace_id)

    async def list_joinable(self) -> list[Row]:
        """Workspaces the caller may join, since the domain of their proven address is allowed there."""
        return [row for row in await self._workspaces.list_joinable() if row["verified"]]

    async def join(self, workspace_id: UUID) -> Row:
        """Become an editor where the domain of the caller's address is allowed; nothing changes for members.

        Raises `WorkspaceNotFoundError`, `EmailNotVerifiedError`.
        """
        if workspace := await self._workspaces.find(workspace_id, self._memberships.me):
            return workspace
        joinable = await self._workspaces.find_joinable(workspace_id)
        if joinable is None:
            raise WorkspaceNotFoundError
        if not joinable["verified"]:
            raise EmailNotVerifiedError
        try:
            await self._memberships.begin(workspace_id, self._memberships.me, Role.EDITOR.value)
        except PermissionError as error:  # not allowed any more since we looked
            raise WorkspaceNotFoundError from error
        return await self.get(workspace_id)

    async def delete(self, workspace_id: UUID, confirm: str | None) -> None:
        """Close a workspace to everybody at once; its owners can restore it for some time.

        Raises `RoleInsufficientError`, `ConfirmationMissingError` unless `confirm` repeats the name.
        """
        workspace = await self._memberships.lock_and_require(workspace_id, Action.OWN)
        if confirm != workspace["name"]:
            raise ConfirmationMissingError
        version = await self._workspaces.delete(workspace_id)
        event = WorkspaceDeleted(
            workspace_id=workspace_id, name=workspace["name"], version=version, ai_models=workspace["ai_models"]
        )
        await self._memberships.record(event, workspace_id, version)
        await self._announcer.workspace_changed(self._workspaces.transaction, workspace_id, version)

    async def restore(self, workspace_id: UUID) -> Row:
        """Open a deleted workspace again; nothing changes for one that is open.

        Raises `WorkspaceNotFoundError`, also after the time of grace, and `RoleInsufficientError`.
        """
        await self._workspaces.lock(workspace_id)
        deleted = await self._workspaces.find_deleted(workspace_id, self._memberships.me, self._grace)
        if deleted is None:
            return await self._memberships.require(workspace_id, Action.OWN)
        version = await self._workspaces.restore(workspace_id)
        event = WorkspaceRestored(
            workspace_id=workspace_id, name=deleted["name"], version=version, ai_models=deleted["ai_models"]
        )
        await self._memberships.record(event, workspace_id, version)
        return await self.get(workspace_id)
