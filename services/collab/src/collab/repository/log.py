"""The update log: one statement a group commit, on a connection of its own."""

import asyncio
import contextlib
import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

import psycopg
import zstandard
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from common.database import KEEPALIVES, Connection, Database, DatabaseUnavailableError, Row

from ..errors import StateDamagedError

APPEND: Final = """
WITH batch AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(lineages)s::int[], %(payloads)b::bytea[], %(actors)s::text[])
    AS b (id, lineage, payload, actors)
), locked AS MATERIALIZED (
    SELECT d.id FROM collab.document d WHERE d.id = ANY(%(ids)s::uuid[]) ORDER BY d.id FOR NO KEY UPDATE
), head AS (
    UPDATE collab.document d SET head_seq = d.head_seq + 1, changed_at = now()
    FROM batch b JOIN locked USING (id) WHERE d.id = b.id AND d.lineage = b.lineage
    RETURNING d.id, d.lineage, d.head_seq
)
INSERT INTO collab.update_log (document_id, lineage, seq, payload, actors, origin)
SELECT head.id, head.lineage, head.head_seq, b.payload, b.actors::uuid[], 'live' FROM head JOIN batch b USING (id)
RETURNING document_id, seq"""
"""The row lock makes the order of numbers the order of commits; rows are locked in one order by all."""


OPTIONS: Final = "-c timezone=UTC -c lock_timeout=3s"


class Written(Protocol):
    """An update on its way into a document's log."""

    @property
    def payload(self) -> bytes:
        """The update."""

    @property
    def document_id(self) -> UUID:
        """Of which document."""

    @property
    def lineage(self) -> int:
        """In which of its lives."""

    @property
    def actors(self) -> Sequence[UUID]:
        """Who wrote it."""


class LogRepository:
    """Appends and reads log entries as the worker."""

    def __init__(self, url: str, database: Database) -> None:
        self._url = url
        self._database = database
        self._connection: AsyncConnection[Any] | None = None

    async def close(self) -> None:
        """Close the connection of `append`."""
        if self._connection:
            await self._connection.close()

    async def append(self, written: Sequence[Written]) -> dict[UUID, int]:
        """Write all or none, one entry a document; its number. A document of another lineage now has none.

        Raises `DatabaseUnavailableError`; whether it was written is unknown then.
        """
        params = {
            "ids": [one.document_id for one in written],
            "lineages": [one.lineage for one in written],
            "payloads": [one.payload for one in written],
            "actors": ["{" + ",".join(map(str, one.actors)) + "}" for one in written],
        }
        try:
            connection = await self._connected()
            rows = await (await connection.execute(APPEND, params, prepare=True)).fetchall()
        except (psycopg.Error, OSError) as error:  # a standby, a missing right: whatever it is, nothing was written
            await self._drop()
            raise DatabaseUnavailableError(type(error).__name__) from error
        except asyncio.CancelledError:
            await self._drop()
            raise
        return {row["document_id"]: row["seq"] for row in rows}

    async def _connected(self) -> AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await Connection.connect(
                self._url, autocommit=True, row_factory=dict_row, options=OPTIONS, **KEEPALIVES
            )
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()

    async def since(self, document_id: UUID, lineage: int, seq: int) -> list[tuple[int, bytes]]:
        """Entries behind `seq`, in order."""
        async with self._database.transaction() as transaction:
            rows = await transaction.all(
                "SELECT seq, payload FROM collab.update_log "
                "WHERE document_id = %(id)s AND lineage = %(lineage)s AND seq > %(seq)s ORDER BY seq",
                {"id": document_id, "lineage": lineage, "seq": seq},
            )
        return [(row["seq"], row["payload"]) for row in rows]

    async def heads(self, documents: Collection[UUID]) -> Mapping[UUID, Row]:
        """Where documents stand."""
        async with self._database.transaction() as transaction:
            rows = await transaction.all(
                "SELECT id, lineage, head_seq, trashed, newest_content, content_version FROM collab.document "
                "WHERE id = ANY(%(ids)s)",
                {"ids": list(documents)},
            )
        return {row["id"]: row for row in rows}

    async def updates(self, document_id: UUID, lineage: int, upto: int | None = None) -> tuple[int, list[bytes]]:
        """The newest state at or before `upto` and all entries behind it up to there, in order; number of the last.

        Raises `StateDamagedError`.
        """
        async with self._database.transaction() as transaction:
            rows = await transaction.all(
                "WITH state AS (SELECT seq, state, sha256 FROM collab.state WHERE document_id = %(id)s AND lineage = "
                "%(lineage)s AND seq <= %(upto)s ORDER BY seq DESC LIMIT 1) "
                "SELECT seq, state AS payload, true AS whole, sha256 FROM state UNION ALL "
                "SELECT seq, payload, false, NULL FROM collab.update_log WHERE document_id = %(id)s AND lineage = "
                "%(lineage)s AND seq > (SELECT seq FROM state) AND seq <= %(upto)s ORDER BY whole DESC, seq",
                {"id": document_id, "lineage": lineage, "upto": 2**62 if upto is None else upto},
            )
        updates = [_state(row) if row["whole"] else row["payload"] for row in rows]
        return (rows[-1]["seq"] if rows else 0), updates

    async def standing(self, document_id: UUID) -> tuple[Row | None, float]:
        """Where a document stands, and the age in seconds of its oldest edit that is in no version."""
        async with self._database.transaction() as transaction:
            row = await transaction.one(
                "SELECT d.*, (SELECT extract(epoch FROM now() - min(u.created_at))::float8 FROM collab.update_log u "
                "WHERE u.document_id = d.id AND u.lineage = d.lineage AND u.seq > d.exported_seq "
                "AND u.origin = 'live') AS lag FROM collab.document d WHERE d.id = %(id)s",
                {"id": document_id},
            )
        return row, (row["lag"] if row else None) or 0.0

    async def authors(self, document_id: UUID, lineage: int, after: int, upto: int) -> list[UUID]:
        """Whose edits entries hold, those who typed before those who wrote versions, the latest first.

        Nobody, if nobody typed.
        """
        async with self._database.transaction() as transaction:
            rows = await transaction.all(
                "SELECT actor, bool_or(origin = 'live') AS typed FROM collab.update_log u, unnest(u.actors) AS actor "
                "WHERE document_id = %(id)s "
                "AND lineage = %(lineage)s AND seq > %(after)s AND seq <= %(upto)s "
                "GROUP BY actor ORDER BY bool_or(origin = 'live') DESC, max(seq) DESC, actor",
                {"id": document_id, "lineage": lineage, "after": after, "upto": upto},
            )
        return [row["actor"] for row in rows] if rows and rows[0]["typed"] else []


def _state(row: Row) -> bytes:
    try:
        state = zstandard.decompress(row["payload"])
    except zstandard.ZstdError as error:
        raise StateDamagedError("a stored state cannot be unpacked") from error
    if hashlib.sha256(state).digest() != row["sha256"]:
        raise StateDamagedError("a stored state is not what was stored")
    return state
