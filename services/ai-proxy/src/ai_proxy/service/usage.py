"""What was used, by day or month and by model."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from common.access import Action
from common.database import Transaction

from ..repository import LedgerRepository
from .budgets import scope_of
from .places import Caller, Places

MOST_DAYS: Final = 400
DEFAULT_DAYS: Final = 31


class UsageService:
    """Usage as one caller may know of it."""

    def __init__(self, transaction: Transaction, places: Places, caller: Caller) -> None:
        self._ledger = LedgerRepository(transaction)
        self._places = places
        self._caller = caller

    async def read(
        self,
        name: str,
        workspace_id: UUID | None,
        document_id: UUID | None,
        user_id: UUID | None,
        period: str,
        since: date | None,
        until: date | None,
    ) -> dict[str, Any]:
        """A scope's usage; of a workspace and of its other members for who manages it, of a document for its readers.

        Raises what `scope_of` does.
        """
        alone = name == "user" and user_id in (None, self._caller.user_id)
        action = Action.READ if alone or name == "document" else Action.MANAGE
        scope = await scope_of(self._places, self._caller, name, workspace_id, document_id, user_id, action)
        last = until or datetime.now(UTC).date()
        first = max(since or _before(last, DEFAULT_DAYS), _before(last, MOST_DAYS))
        begin = first.replace(day=1) if period == "month" else first
        rows = await self._ledger.series(*scope, period, begin, last)
        return {
            "scope": name,
            "period": period,
            "items": [
                {
                    "starts_on": row["starts_on"], "tokens": row["spent_tokens"], "micro_usd": row["spent_micro_usd"],
                    "calls": row["calls"],
                }
                for row in rows
            ],
            "models": await self._ledger.by_model(*scope, begin, last),
        }  # fmt: skip


def _before(day: date, days: int) -> date:
    return date.fromordinal(max(day.toordinal() - days, 1)) if day.toordinal() > days else date.min + timedelta(0)
