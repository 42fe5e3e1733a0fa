"""Opens a document for its room: from the log, or from its Markdown when it goes live for the first time."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from common.client import InternalClient, PeerNotFoundError
from common.database import Database, Row
from common.errors import UnavailableError

from ..domain import states
from ..domain.codecs import SCHEMA_VERSION
from ..errors import DocumentNotFoundError, StateDamagedError
from ..repository import LiveRepository, LogRepository
from ..rooms import Opened
from ..rooms.room import Origin
from .workshop import Workshop

log = logging.getLogger(__name__)


async def head_of(client: InternalClient, document_id: UUID, *, text: bool = False) -> dict[str, Any]:
    """What documents knows of a document now, with its text or without.

    Raises `DocumentNotFoundError`, `PeerUnavailableError`.
    """
    path = f"/internal/documents/{document_id}/head"
    try:
        answer = await client.get("documents", path, {"text": str(text).lower()})
    except PeerNotFoundError as error:
        raise DocumentNotFoundError from error
    ids = {name: UUID(answer[name]) for name in ("id", "workspace_id", "access_root_id")}
    return {**answer, **ids}


class Opener:
    """Reads documents; makes those live that never were, exactly once whoever else does so."""

    def __init__(
        self,
        database: Database,
        log_: LogRepository,
        client: InternalClient,
        workshop: Workshop,
        carry: Callable[[UUID], Awaitable[bool]],
    ) -> None:
        self._database = database
        self._carry = carry
        self._log = log_
        self._client = client
        self._workshop = workshop

    async def open(self, document_id: UUID) -> Opened:
        """Raises `DocumentNotFoundError`, `StateDamagedError`, and what being down raises."""
        row = await self._find(document_id)
        row = await self._brought_up(row) if row else await self._go_live(document_id)
        if row["trashed"]:
            raise DocumentNotFoundError
        seq, updates = await self._log.updates(document_id, row["lineage"])
        if not updates:  # there is at least its seed: nothing is never an empty document
            raise StateDamagedError("the state of the document is missing")
        return Opened(_origin(row), seq, updates, row["verbatim"])

    async def _brought_up(self, row: Row) -> Row:
        """The live document with all versions in it; as it is, if documents cannot be asked."""
        document_id = row["id"]
        try:
            head = await head_of(self._client, document_id)
            async with self._database.transaction() as transaction:
                await LiveRepository(transaction).place([head])
            if head["content_version"] > row["content_version"]:
                await self._carry(document_id)
        except UnavailableError as error:
            log.warning("opened without a look at its versions", extra={"fields": {"cause": error.code}})
        return await self._find(document_id) or row

    async def begin_anew(self, document_id: UUID) -> int:
        """Give a document that is damaged a new life from its newest version; its new lineage.

        Whoever has it open is refused with 4409 and hands in what the version lacks. Raises `DocumentNotFoundError`.
        """
        row = await self._find(document_id)
        if row is None:
            raise DocumentNotFoundError
        head = await head_of(self._client, document_id, text=True)
        lineage: int = row["lineage"] + 1
        client, state = await self._workshop.run(states.seed, document_id, head["kind"], lineage, head["content"])
        async with self._database.transaction() as transaction:
            await LiveRepository(transaction).begin_anew(row, head, client, state)
        return lineage

    async def _find(self, document_id: UUID) -> Row | None:
        async with self._database.transaction() as transaction:
            return await LiveRepository(transaction).find(document_id)

    async def _go_live(self, document_id: UUID) -> Row:
        head = await head_of(self._client, document_id, text=True)
        client, state = await self._workshop.run(states.seed, document_id, head["kind"], 1, head["content"])
        async with self._database.transaction() as transaction:
            live = LiveRepository(transaction)
            await live.seed(head, client, SCHEMA_VERSION, state)
            row = await live.find(document_id)
        # What was told of the document before it had a row was not noted: look once more.
        try:
            now = await head_of(self._client, document_id)
        except DocumentNotFoundError:  # deleted for good meanwhile, and told before there was a row to delete
            async with self._database.transaction() as transaction:
                await LiveRepository(transaction).purge([document_id])
            raise
        async with self._database.transaction() as transaction:
            live = LiveRepository(transaction)
            await live.place([now])
            row = await live.find(document_id)
        assert row is not None  # noqa: S101 - it was just there, and rows are not deleted
        return row


def _origin(row: Mapping[str, Any]) -> Origin:
    return Origin(
        row["id"], row["workspace_id"], row["kind"], row["lineage"], row["seed_client"], frozenset(row["retired_seeds"])
    )
