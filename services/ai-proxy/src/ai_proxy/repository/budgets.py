"""Budgets and what is left of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from common.auth import Principal
from common.contracts.ai_proxy import BudgetChanged
from common.database import Row, Transaction
from common.messaging.outbox import record

SCHEMA: Final = "ai_proxy"
LIMITS: Final = ("day_tokens", "day_micro_usd", "month_tokens", "month_micro_usd")
_COLUMNS: Final = f"id, kind, subject_id, place_id, enabled, models, {', '.join(LIMITS)}, version, updated_at"


class BudgetRepository:
    """Budgets one user may see or set."""

    def __init__(self, transaction: Transaction, principal: Principal) -> None:
        self._transaction = transaction
        self._principal = principal

    async def of(self, scopes: Sequence[tuple[str, UUID, UUID]]) -> list[Row]:
        """Budgets of some scopes (kind, subject, place), those there are."""
        return await self._transaction.all(
            f"SELECT {_COLUMNS} FROM ai_proxy.budget JOIN unnest(%(kinds)s::text[], %(subjects)s::uuid[], "
            "%(places)s::uuid[]) AS s (kind, subject_id, place_id) USING (kind, subject_id, place_id)",
            _columns(scopes),
        )

    async def counters(self, scopes: Sequence[tuple[str, UUID, UUID]]) -> list[Row]:
        """What was spent and is reserved today and this month in some scopes."""
        return await self._transaction.all(
            "SELECT kind, subject_id, place_id, period, spent_tokens, spent_micro_usd, reserved_tokens, "
            "reserved_micro_usd, calls FROM ai_proxy.counter JOIN unnest(%(kinds)s::text[], %(subjects)s::uuid[], "
            "%(places)s::uuid[]) AS s (kind, subject_id, place_id) USING (kind, subject_id, place_id) "
            "WHERE (period, starts_on) IN (('day', (now() AT TIME ZONE 'UTC')::date), "
            "('month', date_trunc('month', now() AT TIME ZONE 'UTC')::date))",
            _columns(scopes),
        )

    async def put(self, budget: Mapping[str, Any]) -> Row:
        """Set a scope's budget, whole."""
        row = await self._transaction.one(
            f"INSERT INTO ai_proxy.budget AS b (id, kind, subject_id, place_id, enabled, models, {', '.join(LIMITS)}, "
            "version, updated_by) VALUES (%(id)s, %(kind)s, %(subject_id)s, %(place_id)s, %(enabled)s, %(models)s, "
            "%(day_tokens)s, %(day_micro_usd)s, %(month_tokens)s, %(month_micro_usd)s, 1, %(by)s) "
            "ON CONFLICT (kind, subject_id, place_id) DO UPDATE SET (enabled, models, day_tokens, day_micro_usd, "
            "month_tokens, month_micro_usd, version, updated_by, updated_at) = (excluded.enabled, excluded.models, "
            "excluded.day_tokens, excluded.day_micro_usd, excluded.month_tokens, excluded.month_micro_usd, "
            f"b.version + 1, excluded.updated_by, now()) RETURNING {_COLUMNS}",
            {**budget, "by": self._principal.user_id},
        )
        assert row is not None  # noqa: S101 - inserted or updated
        personal = row["kind"] == "user"
        event = BudgetChanged(
            budget_id=row["id"],
            scope=row["kind"],
            workspace_id=None if personal else row["place_id"],
            user_id=row["subject_id"] if row["kind"] in ("user", "member") else None,
            document_id=row["subject_id"] if row["kind"] == "document" else None,
            enabled=row["enabled"],
            models=row["models"],
            version=row["version"],
            **{name: row[name] for name in LIMITS},
        )
        await record(
            self._transaction, SCHEMA, event, aggregate_id=row["id"], aggregate_version=row["version"],
            principal=self._principal,
        )  # fmt: skip
        return row


def _columns(scopes: Sequence[tuple[str, UUID, UUID]]) -> dict[str, list[Any]]:
    kinds, subjects, places = zip(*scopes, strict=True)
    return {"kinds": list(kinds), "subjects": list(subjects), "places": list(places)}
