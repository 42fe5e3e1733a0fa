"""Which workspace and document a call is for, and what the caller may do there."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from common.access import AccessProjection, Action, allows
from common.auth import Principal, Revocations
from common.client import InternalClient, PeerNotFoundError
from common.database import Database

from ..errors import ActionForbiddenError, DocumentElsewhereError, DocumentNotFoundError, WorkspaceNotFoundError
from ..repository import PlaceRepository

KEPT: Final = 10_000
KEPT_SECONDS: Final = 60.0
"""How long it is believed where a document lies; that it was taken to where fewer people read is told at once."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the token that proves it to other services."""

    principal: Principal
    token: str = field(repr=False)

    @property
    def user_id(self) -> UUID:
        """The user."""
        return self.principal.user_id


@dataclass(frozen=True, slots=True)
class Place:
    """What a call is for; `root_id` is the document's access root."""

    workspace_id: UUID | None = None
    document_id: UUID | None = None
    root_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class _Placement:
    workspace_id: UUID
    root_id: UUID
    version: int
    until: float


class Places:
    """Places by what is known here; what is not is asked for."""

    def __init__(
        self, database: Database, client: InternalClient, access: AccessProjection, revocations: Revocations
    ) -> None:
        self._database = database
        self._client = client
        self._access = access
        self._revocations = revocations
        self._known: OrderedDict[UUID, _Placement] = OrderedDict()

    async def find(self, workspace_id: UUID | None, document_id: UUID | None) -> Place:
        """Where a document lies. Raises `DocumentNotFoundError`, `DocumentElsewhereError`, `PeerUnavailableError`.

        Nothing is decided by that yet.
        """
        if document_id is None:
            return Place(workspace_id)
        found = await self._placement(document_id)
        if workspace_id not in (None, found.workspace_id):
            raise DocumentElsewhereError
        return Place(found.workspace_id, document_id, found.root_id)

    async def refresh(self, user_id: UUID) -> None:
        """Before deciding (see `AccessProjection.refresh`)."""
        await self._access.refresh(user_id)

    async def learn(self, user_id: UUID, place: Place) -> Place:
        """After a miss: ask for what may be newer than what is known here. Then look again."""
        await self._access.learn(user_id)
        if place.document_id is None:
            return place
        self._known.pop(place.document_id, None)
        place = await self.find(None, place.document_id)
        if place.root_id and place.workspace_id:
            await self._access.learn_root(place.root_id, place.workspace_id)
        return place

    async def require(self, caller: Caller, place: Place, action: Action) -> Place:
        """The caller may do this there.

        Raises `DocumentNotFoundError`, `WorkspaceNotFoundError`, `ActionForbiddenError`.
        """
        await self.refresh(caller.user_id)
        for attempt in range(2):
            role = await self._role(caller.user_id, place)
            if allows(role, action):
                return place
            if not attempt:
                place = await self.learn(caller.user_id, place)
        if place.document_id:
            raise ActionForbiddenError if role else DocumentNotFoundError
        if place.workspace_id in await self._workspaces(caller.user_id):
            raise ActionForbiddenError
        raise WorkspaceNotFoundError

    async def may_read(self, caller: Caller, place: Place) -> bool:
        """Whether the caller may still read there; anybody may where there is no place."""
        if place.workspace_id is None:
            return True
        try:
            if place.document_id:  # it may lie under another root by now
                self._known.pop(place.document_id, None)
                place = await self.find(None, place.document_id)
            await self.require(caller, place, Action.READ)
        except (ActionForbiddenError, DocumentNotFoundError, WorkspaceNotFoundError):
            return False
        return True

    async def is_member(self, caller: Caller, workspace_id: UUID, user_id: UUID) -> bool:
        """Whether somebody belongs to a workspace, as far as is known here."""
        async with self._database.transaction(caller.user_id) as transaction:
            return await PlaceRepository(transaction).is_member(workspace_id, user_id)

    async def _role(self, user_id: UUID, place: Place) -> str | None:
        root = place.root_id or place.workspace_id
        if root is None:
            return None
        async with self._database.transaction(user_id) as transaction:
            return await PlaceRepository(transaction).role_at(root)

    async def _workspaces(self, user_id: UUID) -> list[UUID]:
        async with self._database.transaction(user_id) as transaction:
            return await PlaceRepository(transaction).workspaces()

    async def _placement(self, document_id: UUID) -> _Placement:
        known = self._known.get(document_id)
        oldest = self._revocations.nodes.get(document_id, 0)
        if known and known.version >= oldest and known.until > time.monotonic():
            return known
        try:
            head = await self._client.get("documents", f"/internal/documents/{document_id}/head", {"text": "false"})
        except PeerNotFoundError:
            raise DocumentNotFoundError from None
        if head["trashed"]:
            raise DocumentNotFoundError
        found = _Placement(
            UUID(head["workspace_id"]), UUID(head["access_root_id"]), head["version"], time.monotonic() + KEPT_SECONDS
        )
        self._known[document_id] = found
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return found
