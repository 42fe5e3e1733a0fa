"""Who comes in: tickets are made here and shown at a socket; the role is looked up then, and when it may change."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from common.access import AccessProjection, Action, allows
from common.auth import Principal, Revocations
from common.client import InternalClient
from common.database import Database

from ..domain.tickets import LIFE_SECONDS, Ticket, read_ticket
from ..errors import ActionForbiddenError, DocumentNotFoundError, SessionEndedError, TicketForeignError
from ..repository import DocumentRepository, LiveRepository
from ..rooms import Guest
from .opening import head_of

NAMELESS: Final = "somebody"


@dataclass(frozen=True, slots=True)
class Admission:
    """What somebody may do with a document now, and what this was decided by."""

    document_id: UUID
    workspace_id: UUID
    root_id: UUID
    kind: str
    role: str
    name: str

    @property
    def edits(self) -> bool:
        """Whether they may change it."""
        return allows(self.role, Action.EDIT)


class Door:
    """Decides by the facts of the moment; changed rights are confirmed first."""

    def __init__(
        self,
        database: Database,
        worker: Database,
        client: InternalClient,
        access: AccessProjection,
        revocations: Revocations,
        keys: Sequence[bytes],
    ) -> None:
        self._database = database
        self._worker = worker
        self._client = client
        self._access = access
        self._revocations = revocations
        self._keys = keys
        self._looking: dict[tuple[UUID, UUID, int], asyncio.Task[Admission | None]] = {}
        self.heard = 0
        """How many announcements of lowered rights were heard: unchanged, nothing happened in between."""
        revocations.listeners.append(self._hear)

    def _hear(self, _entry: str) -> None:
        self.heard += 1

    async def admit(self, user_id: UUID, document_id: UUID, action: Action = Action.READ) -> Admission:
        """Raises `DocumentNotFoundError` for what is none of the user's business, `ActionForbiddenError`."""
        await self._access.refresh(user_id)
        found = await self._look(user_id, document_id)
        if not allows(found["role"], action):  # what was given a moment ago may not have been told here yet
            await self._access.learn(user_id)
            await self._access.learn_root(found["access_root_id"], found["workspace_id"])
            found = await self._look(user_id, document_id)
        if not found["role"] or found["trashed"]:
            raise DocumentNotFoundError
        if not allows(found["role"], action):
            raise ActionForbiddenError
        return Admission(
            document_id, found["workspace_id"], found["access_root_id"], found["kind"], found["role"],
            found["name"] or NAMELESS,
        )  # fmt: skip

    async def _look(self, user_id: UUID, document_id: UUID) -> dict[str, Any]:
        async with self._database.transaction(user_id) as transaction:
            row = await DocumentRepository(transaction).find(document_id)
        if row and row["version"] >= self._revocations.nodes.get(document_id, 0):
            return row
        # Not live yet, or moved since we heard of it, or none of theirs as far as we know.
        head = await head_of(self._client, document_id)
        async with self._worker.transaction() as transaction:
            await LiveRepository(transaction).place([head])
        async with self._database.transaction(user_id) as transaction:
            mine = await DocumentRepository(transaction).role_at(head["access_root_id"])
        return {**head, **mine}

    async def ticket(self, principal: Principal, document_id: UUID) -> tuple[Admission, str]:
        """A ticket for a document the caller may read. Raises `DocumentNotFoundError`."""
        admission = await self.admit(principal.user_id, document_id)
        ticket = Ticket(principal.user_id, principal.session_id, document_id, int(time.time()))
        return admission, ticket.token(self._keys[0])

    async def enter(self, token: str, document_id: UUID, *, seconds: int = LIFE_SECONDS) -> tuple[Ticket, Admission]:
        """Whoever shows a ticket. Raises `TicketInvalidError` and its like, `SessionEndedError`, as `admit`."""
        ticket = read_ticket(token, self._keys, time.time(), seconds=seconds)
        if ticket.document_id != document_id:
            raise TicketForeignError
        if self._revocations.session_ended(ticket.session_id):
            raise SessionEndedError
        return ticket, await self.admit(ticket.user_id, document_id)

    async def still(self, guest: Guest, document_id: UUID) -> bool:
        """Whether a guest may stay; what they may do from now on.

        An announcement may concern many tabs of one person: they are looked up once.
        """
        key = guest.user_id, document_id, self.heard
        task = self._looking.get(key)
        if task is None:
            task = self._looking[key] = asyncio.create_task(self._admission(guest.user_id, document_id))
            task.add_done_callback(lambda _: self._looking.pop(key, None))
        admission = await asyncio.shield(task)
        guest.edits = admission is not None and admission.edits
        return admission is not None

    async def _admission(self, user_id: UUID, document_id: UUID) -> Admission | None:
        try:
            return await self.admit(user_id, document_id)
        except DocumentNotFoundError:
            return None
