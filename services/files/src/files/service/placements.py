"""Documents that were moved to where fewer people read: nobody reads their files by the place of before."""

import asyncio
from typing import Any, Final
from uuid import UUID

from common.auth import Revocations
from common.client import InternalClient
from common.database import Database

from ..repository import DocumentRepository

ASKED_AT_ONCE: Final = 20
REMEMBERED: Final = 100_000


class Placements:
    """Where documents lie, confirmed as far as was announced."""

    def __init__(self, worker: Database, client: InternalClient, revocations: Revocations) -> None:
        self._worker = worker
        self._client = client
        self._revocations = revocations
        self._known: dict[UUID, int] = {}
        self._heard, self._settled = 1, 0
        """How many announcements there were, and up to which all is confirmed."""
        revocations.listeners.append(self._hear)

    def _hear(self, _entry: str) -> None:
        self._heard += 1

    async def confirm(self) -> None:
        """Before deciding: ask about what was moved and not told here yet. Raises `PeerUnavailableError`."""
        heard = self._heard
        if self._settled == heard:
            return
        told = {id_: version for id_, version in self._revocations.nodes.items() if self._known.get(id_, 0) < version}
        if told:
            async with self._worker.transaction() as transaction:
                versions = await DocumentRepository(transaction).versions(list(told))
            behind = [id_ for id_, version in versions.items() if version < told[id_]]
            for start in range(0, len(behind), ASKED_AT_ONCE):
                await asyncio.gather(*map(self.learn, behind[start : start + ASKED_AT_ONCE]))
            self._known = self._known if len(self._known) < REMEMBERED else {}
            self._known |= told  # what nothing is attached to is asked about when something is
        self._settled = heard

    async def roots_of(self, file_id: UUID) -> list[tuple[UUID, UUID]]:
        """Access roots a file is read at, with their workspaces."""
        async with self._worker.transaction() as transaction:
            rows = await DocumentRepository(transaction).roots_of(file_id)
        return [(row["access_root_id"], row["workspace_id"]) for row in rows]

    async def file_of(self, attachment_id: UUID) -> UUID | None:
        """Which file an attachment or context file is of."""
        async with self._worker.transaction() as transaction:
            return await DocumentRepository(transaction).file_of(attachment_id)

    async def learn(self, document_id: UUID) -> dict[str, Any]:
        """Note where a document lies now. Raises `PeerNotFoundError`, `PeerUnavailableError`."""
        path = f"/internal/documents/{document_id}/head"
        head: dict[str, Any] = await self._client.get("documents", path, {"text": "false"})
        head |= {name: UUID(head[name]) for name in ("id", "workspace_id", "access_root_id")}
        async with self._worker.transaction() as transaction:
            await DocumentRepository(transaction).place([head], only_known=False)
        return head
