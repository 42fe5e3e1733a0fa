"""PostgreSQL: one pool a process, one lazily begun transaction a request, user context first.

Statements are plain SQL on the psycopg connection; no ORM is loaded (ADR-0003).
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

import psycopg
from opentelemetry.trace import SpanKind
from psycopg import AsyncConnection, AsyncCursor
from psycopg import errors as pg
from psycopg.rows import DictRow, dict_row, tuple_row
from psycopg.sql import Literal
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from common import telemetry
from common.errors import ServiceError, UnavailableError, UnprocessableError

log = logging.getLogger(__name__)

Row = DictRow
Params = Mapping[str, Any]
Call = tuple[str, Params]
"""A statement and its parameters."""

#: Failures that mean "the database is away", not "the statement is wrong".
OUTAGE = (
    psycopg.OperationalError,
    PoolTimeout,
    pg.AdminShutdown,
    pg.CrashShutdown,
    pg.CannotConnectNow,
    pg.ReadOnlySqlTransaction,  # of a server that was the primary until a moment ago
)

DEADLINE_SECONDS = 10.0
"""Longer than the runtime roles' statement_timeout (8 s): reached only if the server does not run at all."""
KEEPALIVES: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "connect_timeout": 5,
}


class DatabaseUnavailableError(UnavailableError):
    """PostgreSQL cannot be reached or went away; what was not answered may be retried with its Idempotency-Key."""

    code = "database_unavailable"
    title = "The database is not reachable"


class ValueNotStorableError(UnprocessableError):
    """A value passed every check and is still outside what PostgreSQL can hold, such as a date."""

    code = "value_not_storable"
    title = "A value is out of range"


class Connection(AsyncConnection[DictRow]):
    """A pooled connection that remembers which statements it has prepared."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.known: set[bytes] = set()
        self._readable = select.poll()
        self._readable.register(self.pgconn.socket, select.POLLIN)

    async def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """Wait for the server, but not for ever: a frozen one neither answers nor hangs up."""
        timer = asyncio.get_running_loop().call_later(DEADLINE_SECONDS, self._cut)
        try:
            return await super().wait(gen, interval, timeout)
        finally:
            timer.cancel()

    def _cut(self) -> None:
        log.warning("no answer from the database, connection cut")
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.pgconn.socket)) as line:
            line.shutdown(socket.SHUT_RDWR)

    def hung_up(self) -> bool:
        """Whether the server closed this idle connection: only then is there anything to read."""
        return bool(self._readable.poll(0))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement in PostgreSQL's own PREPARE form."""

    name: bytes
    prepare: bytes
    order: tuple[str, ...]
    columns: list[str] = field(default_factory=list)
    """Names of its result's columns, known after the first row."""


@lru_cache(maxsize=500)
def prepared_statement(statement: str) -> Prepared:
    """`%(name)s` parameters become `$1`…; the name is derived from the text."""
    order: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        if match[1] not in order:
            order.append(match[1])
        return f"${order.index(match[1]) + 1}"

    text = _PARAMETER.sub(number, statement)
    name = "s_" + hashlib.sha256(text.encode()).hexdigest()[:20]
    return Prepared(name.encode(), f"PREPARE {name} AS {text}".encode(), tuple(order))


_PARAMETER = re.compile(r"%%|%\((\w+)\)s")
_SPAN_ATTRIBUTES = {"db.system.name": "postgresql"}


_PLAIN = re.compile(r"[ !#-&(-\[\]-~]*", re.ASCII)
"""Text in which nothing has to be quoted: printable ASCII without quotes and backslashes."""


def _literal(value: Any, connection: Connection) -> bytes:
    """What psycopg makes of a value; the plainest ones at a tenth of its price."""
    kind = type(value)
    if value is None:
        return b"NULL"
    if kind is UUID:  # cannot hold a quote
        return b"'%b'" % str(value).encode()
    if kind is str and _PLAIN.fullmatch(value):
        return b"'%b'" % value.encode()
    if kind is bool:
        return b"true" if value else b"false"
    if kind is int and value >= 0:
        return b"%d" % value
    return Literal(value).as_bytes(connection)


def _span_name(statement: str) -> str:
    return "SQL " + " ".join(statement.split()[:6])


class Transaction:
    """One request's database transaction; begins with its first statement, ends at the edge.

    The first thing set is `app.user_id`, for this transaction only, so that row-level security knows the caller.
    """

    def __init__(self, pool: AsyncConnectionPool[Connection], user_id: UUID | None, written: asyncio.Event) -> None:
        self._pool = pool
        self._user_id = user_id
        self._written = written
        self._tells = False
        self._connection: Connection | None = None
        self.begun = 0
        """How often a database transaction was begun for this request."""
        self.after_commit: list[Callable[[], Awaitable[None]]] = []

    @property
    def open(self) -> bool:
        """Whether a database transaction is open now."""
        return self._connection is not None

    async def _begin(self) -> Connection:
        connection = self._connection = await self._checkout()
        self.begun += 1
        await connection.execute(b"BEGIN; SELECT set_config('app.user_id', '%b', true)" % self._user())
        return connection

    async def _checkout(self) -> Connection:
        """A connection the server has not hung up on while it was idle."""
        while True:
            connection = await self._pool.getconn()
            if not connection.hung_up():
                return connection
            await connection.close()
            await self._pool.putconn(connection)

    def will_tell(self) -> None:
        """An event is among its writes: wake the relay once they are committed."""
        self._tells = True

    async def act_as(self, user_id: UUID) -> None:
        """Give the rest of the transaction this user's view; for flows that learn who it is on the way."""
        self._user_id = user_id
        if self._connection:
            await self.execute("SELECT set_config('app.user_id', %(user)s, true)", {"user": str(user_id)})

    async def execute(self, statement: str, params: Params | None = None) -> AsyncCursor[DictRow]:
        """Run one statement; opens the transaction if need be. An outage raises `DatabaseUnavailableError`."""
        try:
            connection = self._connection or await self._begin()
            context = telemetry.current()
            if context is None or not context.sampled:
                return await connection.execute(statement, params)
            with telemetry.span(_span_name(statement), SpanKind.CLIENT, **_SPAN_ATTRIBUTES):
                return await connection.execute(statement, params)
        except OUTAGE as error:
            raise DatabaseUnavailableError from error
        except pg.DataError as error:
            raise ValueNotStorableError from error

    async def single(self, statement: str, params: Params | None = None) -> list[Row]:
        """Rows of a statement that is a transaction by itself, read or write.

        With nothing open it travels in one message with the caller's context and is committed by its end: a third of
        the round trips. Inside an open transaction it is a statement like any other.
        """
        [rows] = await self.together([(statement, params or {})])
        return rows

    async def together(self, calls: Sequence[Call]) -> list[list[Row]]:
        """Rows of each of several statements that are a transaction by themselves, as `single` is: all or none."""
        if self._connection:
            return [await self.all(*call) for call in calls]
        context = telemetry.current()
        try:
            if context is None or not context.sampled:
                return await self._message(calls)
            with telemetry.span(_span_name(calls[0][0]), SpanKind.CLIENT, **_SPAN_ATTRIBUTES):
                return await self._message(calls)
        except OUTAGE as error:
            raise DatabaseUnavailableError from error
        except pg.DataError as error:
            raise ValueNotStorableError from error

    async def _message(self, calls: Sequence[Call]) -> list[list[Row]]:
        statements = [prepared_statement(statement) for statement, _ in calls]
        connection = await self._checkout()
        try:
            parts = [b"SET LOCAL app.user_id = '%b'" % self._user()]
            for prepared, (_, params) in zip(statements, calls, strict=True):
                if prepared.name not in connection.known:
                    await self._prepare(connection, prepared)
                values = b", ".join([_literal(params[name], connection) for name in prepared.order])
                parts.append(b"EXECUTE %b(%b)" % (prepared.name, values) if values else b"EXECUTE %b" % prepared.name)
            # PostgreSQL runs a message of several statements as one transaction.
            cursor = connection.cursor(row_factory=tuple_row)
            await cursor.execute(b"; ".join(parts))
            return [await self._rows(cursor, prepared) for prepared in statements if cursor.nextset()]
        finally:
            await self._pool.putconn(connection)

    async def _rows(self, cursor: AsyncCursor[Any], prepared: Prepared) -> list[Row]:
        rows = await cursor.fetchall()
        if rows and not prepared.columns:
            prepared.columns.extend(column.name for column in cursor.description or ())
        return [dict(zip(prepared.columns, row, strict=True)) for row in rows]

    async def _prepare(self, connection: Connection, prepared: Prepared) -> None:
        try:
            await connection.execute(prepared.prepare)
        except BaseException:  # cancelled, say: whether it is prepared is unknown, so nobody may use it again
            await connection.close()
            raise
        connection.known.add(prepared.name)

    def _user(self) -> bytes:
        return str(self._user_id).encode() if self._user_id else b""

    async def one(self, statement: str, params: Params | None = None) -> Row | None:
        """First row or None."""
        return await (await self.execute(statement, params)).fetchone()

    async def all(self, statement: str, params: Params | None = None) -> list[Row]:
        """All rows."""
        return await (await self.execute(statement, params)).fetchall()

    async def release(self) -> None:
        """Give the connection back before I/O elsewhere; call after reads only: unfinished writes are undone."""
        await self._end("ROLLBACK")

    async def commit(self) -> None:
        """Make the effects durable, then run what waits for that; nobody but the edge calls this."""
        await self._end("COMMIT")
        if self._tells:
            self._written.set()
        waiting, self.after_commit = self.after_commit, []
        for callback in waiting:
            try:
                await callback()
            except Exception:
                log.exception("what waited for the commit failed")

    async def _end(self, verb: str) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.execute(verb)
        except OUTAGE as error:
            raise DatabaseUnavailableError from error
        finally:
            await self._pool.putconn(connection)


class Database:
    """The process's connections as the runtime role; `open()` never waits for the server to be up."""

    def __init__(self, url: str, *, max_size: int, timeout: float) -> None:
        self.written = asyncio.Event()
        """Set when events were committed: what the relay waits for."""
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=Connection,
            # No automatic preparing: psycopg drops every prepared statement after a ROLLBACK, ours included.
            kwargs={
                "autocommit": True,
                "prepare_threshold": None,
                "row_factory": dict_row,
                "options": "-c timezone=UTC",
                **KEEPALIVES,
            },
            min_size=1,
            max_size=max_size,
            timeout=timeout,
            reconnect_timeout=10,
            max_waiting=200,
            open=False,
            check=None,
        )

    async def open(self) -> None:
        """Start filling the pool in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self, user_id: UUID | None = None) -> AsyncIterator[Transaction]:
        """A transaction that commits when the block ends well and rolls back when it raises."""
        transaction = Transaction(self._pool, user_id, self.written)
        try:
            yield transaction
            await transaction.commit()
        except asyncio.CancelledError:
            await asyncio.shield(_quietly(transaction))
            raise
        except BaseException as error:
            if isinstance(error, ServiceError) and error.commits:
                await transaction.commit()
            else:
                await _quietly(transaction)
            raise

    async def ping(self) -> None:
        """Raise `DatabaseUnavailableError` unless a statement runs."""
        async with self.transaction() as transaction:
            await transaction.execute("SELECT 1")


async def _quietly(transaction: Transaction) -> None:
    try:
        await transaction.release()
    except DatabaseUnavailableError:
        log.warning("rollback failed: the connection is gone, and with it the transaction")


def values(rows: Sequence[Row], column: str) -> list[Any]:
    """One column of many rows."""
    return [row[column] for row in rows]
