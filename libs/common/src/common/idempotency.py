"""`Idempotency-Key` (IETF draft-ietf-httpapi-idempotency-key-header): one effect, one answer, for 24 hours.

The row lives in the service's schema and the effect's transaction; a concurrent duplicate waits for it.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import orjson
from fastapi import Request, Response
from psycopg.types.json import Jsonb

from common.database import Transaction
from common.errors import BadRequestError, ServiceError, UnprocessableError

MAX_KEY_LENGTH = 255
HASHED_HEADERS = ("if-match", "content-type", "prefer")
KEPT_HEADERS = ("location", "etag", "content-type")


class IdempotencyKeyReusedError(UnprocessableError):
    """The key was used before with another body."""

    code = "idempotency_key_reused"
    title = "The Idempotency-Key was used for another request"


class IdempotencyKeyInvalidError(BadRequestError):
    """Keys are 1-255 visible ASCII characters."""

    code = "idempotency_key_invalid"


class Replay(ServiceError):  # noqa: N818 - control flow: the answer exists already
    """Ends the request with the stored answer; its transaction has done nothing."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__()
        self.response = Response(body, status, {**headers, "Idempotent-Replayed": "true"})


class IdempotencyKey:
    """The request's key, if it has one; without it both verbs do nothing."""

    def __init__(self, request: Request, transaction: Transaction, user_id: UUID, schema: str) -> None:
        self._request = request
        self._transaction = transaction
        self._table = f"{schema}.idempotency"
        key = request.headers.get("idempotency-key")
        if key is not None and not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
            raise IdempotencyKeyInvalidError
        self._claimed_in = 0
        self._row: dict[str, Any] | None = key and {  # type: ignore[assignment]
            "user": user_id,
            "method": request.method,
            "path": request.url.path,
            "key": key,
        }

    async def replay(self) -> None:
        """Before anything is decided: raises `Replay` if this request was done before.

        Raises `IdempotencyKeyReusedError` if the key belongs to another request.
        """
        if not self._row:
            return
        meant = [self._request.headers.get(name, "").encode() for name in HASHED_HEADERS]
        self._row["hash"] = hashlib.sha256(b"\n".join([*meant, await self._request.body()])).digest()
        known = await self._transaction.single(
            f"SELECT request_hash, status, headers, body FROM {self._table} "
            "WHERE user_id = %(user)s AND method = %(method)s AND path = %(path)s AND key = %(key)s",
            self._row,
        )
        if known and known[0]["request_hash"] != self._row["hash"]:
            raise IdempotencyKeyReusedError
        if known:
            raise Replay(known[0]["status"], known[0]["headers"], known[0]["body"])

    async def claim(self) -> None:
        """First write of the effect; a concurrent duplicate waits here and then raises `Replay`."""
        if not self._row or (self._transaction.open and self._claimed_in == self._transaction.begun):
            return
        if "hash" not in self._row:
            await self.replay()
        claimed = await self._transaction.one(
            f"INSERT INTO {self._table} (user_id, method, path, key, request_hash) "
            "VALUES (%(user)s, %(method)s, %(path)s, %(key)s, %(hash)s) ON CONFLICT DO NOTHING RETURNING true",
            self._row,
        )
        if not claimed:
            await self.replay()
        self._claimed_in = self._transaction.begun

    async def keep(self, response: Response) -> Response:
        """Last write of the effect: store its answer."""
        if self._row:
            headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
            await self._transaction.execute(
                f"UPDATE {self._table} SET status = %(status)s, headers = %(headers)s, body = %(body)s "
                "WHERE user_id = %(user)s AND method = %(method)s AND path = %(path)s AND key = %(key)s",
                {**self._row, "status": response.status_code, "headers": Jsonb(headers), "body": response.body},
            )
        return response


@asynccontextmanager
async def repeatable(
    request: Request, transaction: Transaction, user_id: UUID, schema: str
) -> AsyncIterator[IdempotencyKey]:
    """The request's key: a request that was done before is answered before anything else.

    A duplicate may also overtake that look and then fail on what the first one changed: it gets the first one's answer.
    """
    key = IdempotencyKey(request, transaction, user_id, schema)
    await key.replay()
    try:
        yield key
    except ServiceError:
        await transaction.release()
        await key.replay()
        raise


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON by orjson: rows go out without building and validating models a second time."""
    return Response(orjson.dumps(content), status, headers, "application/json")
