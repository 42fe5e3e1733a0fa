"""Live documents over plain HTTP: their state, updates from scripts, who is there, how far behind versions are."""

import asyncio
import hashlib
from typing import Any, Final
from uuid import UUID, uuid5

from common.access import Action
from common.auth import Principal
from common.client import InternalClient
from common.database import Database
from common.errors import ServiceError

from ..domain import states, wire
from ..domain.engine import EMPTY_STATE, check_update
from ..errors import (
    FrameInvalidError,
    HandInRefusedError,
    LogUnavailableError,
    StateDamagedError,
    UpdateIncompleteError,
    UpdateInvalidError,
    UpdateTooLargeError,
    WorkspaceNotFoundError,
)
from ..repository import DocumentRepository, LogRepository
from ..rooms import Hall, Room
from ..rooms.member import MAX_DIFF_BYTES
from .door import Admission, Door
from .workshop import Workshop

WRITE_SECONDS: Final = 15.0
HAND_IN_MS: Final = 10_000
UNKNOWN_BASE: Final = 2**53
"""A version nobody has: what is written on it is kept beside the document."""


class HttpWriter:
    """Somebody who sent an update and waits for what becomes of it."""

    def __init__(self, user_id: UUID) -> None:
        self.user_id = user_id
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def may_write(self) -> bool:
        """They were admitted a moment ago."""
        return True

    def written(self) -> None:
        """It is durable."""
        if not self.done.done():
            self.done.set_result(None)

    def refused(self, error: ServiceError) -> None:
        """It was not taken."""
        if not self.done.done():
            self.done.set_exception(error)

    def incomplete(self, state_vector: bytes) -> None:
        """It builds on something that is missing."""
        self.refused(UpdateIncompleteError(state_vector=state_vector.hex()))


class LiveService:
    """Live documents on behalf of one caller."""

    def __init__(
        self,
        hall: Hall,
        door: Door,
        log: LogRepository,
        client: InternalClient,
        workshop: Workshop,
        principal: Principal,
    ) -> None:
        self._hall = hall
        self._log = log
        self._client = client
        self._workshop = workshop
        self._door = door
        self._principal = principal

    async def ticket(self, document_id: UUID) -> tuple[Admission, str]:
        """A ticket to open the document live. Raises `DocumentNotFoundError`."""
        return await self._door.ticket(self._principal, document_id)

    async def state(self, document_id: UUID, since: bytes) -> tuple[Room, bytes]:
        """What somebody with this state vector lacks; all of it is durable. Raises `UpdateInvalidError`."""
        await self._door.admit(self._principal.user_id, document_id)
        room = await self._hall.room(document_id)
        since = since or EMPTY_STATE
        try:
            wire.read_state_vector(since)
        except FrameInvalidError as error:
            raise UpdateInvalidError("`since` is not a state vector") from error
        return room, await room.read(lambda: room.diff(since))

    async def write(self, document_id: UUID, update: bytes) -> int:
        """Take an update, as a socket would; the log's number by then. The same update again changes nothing.

        Raises `ActionForbiddenError`, `UpdateInvalidError`, `UpdateIncompleteError`, `UpdateTooLargeError`.
        """
        await self._door.admit(self._principal.user_id, document_id, Action.EDIT)
        if len(update) > MAX_DIFF_BYTES:
            raise UpdateTooLargeError
        check_update(update)
        heard = self._door.heard
        room = await self._hall.room(document_id)
        if self._door.heard != heard:  # opening may take a while
            await self._door.admit(self._principal.user_id, document_id, Action.EDIT)
        writer = HttpWriter(self._principal.user_id)
        room.submit(update, writer)
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await writer.done
        except TimeoutError as error:
            raise LogUnavailableError from error
        return room.seq

    async def hand_in(self, document_id: UUID, state: bytes, token: str) -> str | None:
        """Keep the whole state of a copy that belongs to a former life as a document beside this one: its id.

        None if it says what the document says. The same state again is the same copy. Raises `UpdateIncompleteError`,
        `HandInRefusedError`, `ActionForbiddenError`.
        """
        admission = await self._door.admit(self._principal.user_id, document_id, Action.EDIT)
        if len(state) > MAX_DIFF_BYTES:
            raise UpdateTooLargeError
        check_update(state)
        try:
            text = await self._workshop.run(states.export, admission.kind, [state], "")
        except StateDamagedError as error:
            raise UpdateIncompleteError from error
        named = uuid5(document_id, hashlib.sha256(state).hexdigest() + str(self._principal.user_id))
        operation = {
            "op_id": str(UUID(int=named.int, version=4)), "n": 1, "entity": "document", "type": "update",
            "id": str(document_id), "base_version": UNKNOWN_BASE, "content": text,
        }  # fmt: skip
        body = {"device_id": None, "known_up_to": 0, "ops": [operation], "deadline_ms": HAND_IN_MS}
        answer = await self._client.post(
            "documents", "/internal/documents/ops", body, user_token=token, acting_user=self._principal.user_id,
            seconds=HAND_IN_MS / 1000 + 1,
        )  # fmt: skip
        [result] = answer["results"]
        if result["status"] not in ("conflict", "noop"):
            raise HandInRefusedError(str(result.get("code", result["status"])))
        copy: str | None = result.get("conflict_document_id")
        return copy

    async def status(self, document_id: UUID) -> dict[str, Any]:
        """How the live document stands against its versions."""
        admission = await self._door.admit(self._principal.user_id, document_id)
        row, lag = await self._log.standing(document_id)
        people = [one for one in await self._hall.crowd() if one["document_id"] == str(document_id)]
        status = {"document_id": document_id, "kind": admission.kind, "live": row is not None, "clients": len(people)}
        if row is None:
            return {**status, **_NEVER_LIVE}
        return {
            **status, "lineage": row["lineage"], "seq": row["head_seq"], "exported_seq": row["exported_seq"],
            "content_version": row["content_version"], "newest_content_version": row["newest_content"],
            "changed_at": row["changed_at"], "lag_ms": round(lag * 1000),
        }  # fmt: skip


_NEVER_LIVE: Final = {
    "lineage": 0, "seq": 0, "exported_seq": 0, "content_version": 0, "newest_content_version": 0, "changed_at": None,
    "lag_ms": 0,
}  # fmt: skip


class PresenceService:
    """Who is in documents, at whichever process."""

    def __init__(self, database: Database, hall: Hall, door: Door, principal: Principal) -> None:
        self._database = database
        self._hall = hall
        self._door = door
        self._principal = principal

    async def in_document(self, document_id: UUID) -> list[dict[str, Any]]:
        """People in a document. Raises `DocumentNotFoundError`."""
        await self._door.admit(self._principal.user_id, document_id)
        found = await self._hall.crowd()
        return [one for one in found if one["document_id"] == str(document_id)]

    async def in_workspace(self, workspace_id: UUID) -> list[dict[str, Any]]:
        """People in those documents of a workspace that the caller may read. Raises `WorkspaceNotFoundError`."""
        found = await self._hall.crowd()
        async with self._database.transaction(self._principal.user_id) as transaction:
            documents = DocumentRepository(transaction)
            if not await documents.belongs(workspace_id):
                raise WorkspaceNotFoundError
            ids = [UUID(one["document_id"]) for one in found]
            readable = await documents.readable_in(workspace_id, ids)
        return [one for one in found if UUID(one["document_id"]) in readable]
