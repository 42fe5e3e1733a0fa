"""Calls: reserved before, settled after, by functions of the schema nobody can go around."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import orjson

from common.database import Call, Row, Transaction

REAPED_AT_ONCE: Final = 200

_SETTLE: Final = "SELECT ai_proxy.settle(%(calls)s::json)"
_BEAT: Final = (
    "INSERT INTO ai_proxy.process (id, beat_at, leased_until) "
    "VALUES (%(id)s, now(), now() + make_interval(secs => %(lease)s)) "
    "ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, leased_until = excluded.leased_until RETURNING id"
)
_SEEN: Final = (
    "WITH free AS MATERIALIZED (SELECT f.id FROM ai_proxy.reservation f "
    "WHERE f.id = ANY(%(ids)s::uuid[]) FOR UPDATE SKIP LOCKED), noted AS ("
    "UPDATE ai_proxy.reservation r SET seen_tokens = s.seen "
    "FROM unnest(%(ids)s::uuid[], %(seen)s::bigint[]) AS s (id, seen) JOIN free USING (id) "
    "WHERE r.id = s.id RETURNING 1) SELECT count(*) FROM noted"
)


class LedgerRepository:
    """The ledger as one user may use it; both verbs are transactions by themselves."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def reserve(self, call: Mapping[str, Any]) -> Row:
        """Let a call begin, or say why not: `verdict`, and what that is about."""
        [row] = await self._transaction.single(
            "SELECT * FROM ai_proxy.reserve(%(id)s, %(process)s, %(workspace)s, %(document)s, %(root)s, %(personal)s, "
            "%(provider)s, %(models)s::text[], %(operation)s, %(streamed)s, %(tokens)s, %(micro_usd)s, "
            "%(input_tokens)s, %(output_tokens)s, %(ceilings)s::bigint[], %(user_calls)s, %(workspace_calls)s, "
            "%(tokens_per_minute)s)",
            call,
        )
        return row

    async def settle(self, calls: Sequence[Mapping[str, Any]]) -> None:
        """Count what they were, all or none; what was done before changes nothing."""
        await self._transaction.single(_SETTLE, {"calls": orjson.dumps(calls).decode()})

    async def series(self, kind: str, subject: UUID, place: UUID, period: str, since: date, until: date) -> list[Row]:
        """What was used in each day or month of a scope, oldest first."""
        return await self._transaction.all(
            "SELECT starts_on, spent_tokens, spent_micro_usd, calls FROM ai_proxy.counter "
            "WHERE (kind, subject_id, place_id, period) = (%(kind)s, %(subject)s, %(place)s, %(period)s) "
            "AND starts_on BETWEEN %(since)s AND %(until)s ORDER BY starts_on",
            {"kind": kind, "subject": subject, "place": place, "period": period, "since": since, "until": until},
        )

    async def by_model(self, kind: str, subject: UUID, place: UUID, since: date, until: date) -> list[Row]:
        """What was used of each model in some days of a scope, dearest first; of calls the caller may know of."""
        column = {"user": "user_id", "member": "user_id", "workspace": "workspace_id", "document": "document_id"}[kind]
        return await self._transaction.all(
            "SELECT provider, model, count(*) AS calls, sum(input_tokens)::bigint AS input_tokens, "
            "sum(output_tokens)::bigint AS output_tokens, sum(micro_usd)::bigint AS micro_usd FROM ai_proxy.usage "
            f"WHERE {column} = %(subject)s AND (%(kind)s = 'user' OR workspace_id = %(place)s) "
            "AND at >= %(since)s::date AND at < %(until)s::date + 1 "
            "GROUP BY provider, model ORDER BY micro_usd DESC, model LIMIT 100",
            {"kind": kind, "subject": subject, "place": place, "since": since, "until": until},
        )


class WorkerRepository:
    """Who serves calls, and the calls of who does no more: as the worker."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def beat(self, process: UUID, lease_seconds: float, seen: Sequence[tuple[UUID, int]]) -> None:
        """This process lives; so much was seen of its calls' answers. It waits for none that is just being settled.

        In one message, a transaction by itself: a process that is frozen meanwhile holds no lock.
        """
        calls: list[Call] = [(_BEAT, {"id": process, "lease": lease_seconds})]
        if seen:
            ids, tokens = (",".join(map(str, column)) for column in zip(*seen, strict=True))
            calls.append((_SEEN, {"ids": f"{{{ids}}}", "seen": f"{{{tokens}}}"}))
        await self._transaction.together(calls)

    async def abandoned(self, process: UUID, running: Sequence[UUID], lease_seconds: float) -> list[Row]:
        """Calls nobody carries on, with how long they ran.

        Those of processes that have not been heard of for longer than their lease, and those of this one that it does
        not know of: their reservation was written, and the answer that said so was lost.
        """
        return await self._transaction.all(
            "SELECT r.*, extract(epoch FROM greatest(coalesce(p.beat_at, r.created_at) - r.created_at, '0'))::float "
            "AS seconds "
            "FROM ai_proxy.reservation r LEFT JOIN ai_proxy.process p ON p.id = r.process_id "
            "WHERE coalesce(p.leased_until, r.created_at + make_interval(secs => %(lease)s)) < now() "
            "OR (r.process_id = %(process)s AND r.id <> ALL(%(running)s::uuid[]) "
            "AND r.created_at + make_interval(secs => %(lease)s) < now()) "
            f"ORDER BY r.created_at LIMIT {REAPED_AT_ONCE}",
            {"process": process, "running": list(running), "lease": lease_seconds},
        )

    async def settle(self, calls: Sequence[Mapping[str, Any]]) -> None:
        """Count what they were, all or none; what was done before changes nothing."""
        await self._transaction.single(_SETTLE, {"calls": orjson.dumps(calls).decode()})
