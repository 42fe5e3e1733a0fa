"""Budgets: who may see and set them, and what is left of each."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from common.access import Action
from common.database import Row, Transaction
from common.identifiers import uuid7

from ..errors import AssistIncompleteError, WorkspaceNotFoundError
from ..repository import BudgetRepository
from ..schemas import BudgetWrite
from .models import NOBODY
from .places import Caller, Place, Places

KINDS: Final = ("user", "member", "workspace", "document")
PERIODS: Final = ("day", "month")
_SPENT: Final = ("spent_tokens", "spent_micro_usd", "reserved_tokens", "reserved_micro_usd", "calls")

Scope = tuple[str, UUID, UUID]
"""Kind, subject, place."""


class ScopeIncompleteError(AssistIncompleteError):
    """A workspace's or document's budget, without its id."""

    code = "scope_incomplete"
    title = "Say which workspace or document"


class BudgetService:
    """Budgets as one caller may use them."""

    def __init__(
        self, transaction: Transaction, places: Places, caller: Caller, ceilings: Sequence[int | None]
    ) -> None:
        self._budgets = BudgetRepository(transaction, caller.principal)
        self._places = places
        self._caller = caller
        self._ceilings = ceilings

    async def list_for(self, workspace_id: UUID | None, document_id: UUID | None, user_id: UUID | None) -> list[Any]:
        """All that a call there would have to keep to; of somebody else's for who manages the workspace.

        Raises `WorkspaceNotFoundError`, `DocumentNotFoundError`, `ActionForbiddenError`.
        """
        who = user_id or self._caller.user_id
        place = await self._places.find(workspace_id, document_id)
        if who != self._caller.user_id:
            if place.workspace_id is None:
                raise ScopeIncompleteError
            await self._places.require(self._caller, Place(place.workspace_id), Action.MANAGE)
        elif place.workspace_id:
            await self._places.require(self._caller, place, Action.READ)
        scopes: list[Scope] = [("user", who, NOBODY)] if who == self._caller.user_id else []
        if place.workspace_id:
            scopes += [("member", who, place.workspace_id), ("workspace", place.workspace_id, place.workspace_id)]
        if place.document_id and place.workspace_id:
            scopes.append(("document", place.document_id, place.workspace_id))
        return await self._read(scopes)

    async def put(self, body: BudgetWrite) -> Any:
        """Set one. Raises what `scope_of` does."""
        kind, subject, place = await scope_of(
            self._places, self._caller, body.scope, body.workspace_id, body.document_id, body.user_id, Action.MANAGE
        )
        await self._budgets.put(
            {
                "id": uuid7(), "kind": kind, "subject_id": subject, "place_id": place, "enabled": body.enabled,
                "models": body.models, "day_tokens": body.day.tokens, "day_micro_usd": body.day.micro_usd,
                "month_tokens": body.month.tokens, "month_micro_usd": body.month.micro_usd,
            }
        )  # fmt: skip
        [budget] = await self._read([(kind, subject, place)])
        return budget

    async def _read(self, scopes: Sequence[Scope]) -> list[Any]:
        budgets = {_scope(row): row for row in await self._budgets.of(scopes)}
        counters = {(*_scope(row), row["period"]): row for row in await self._budgets.counters(scopes)}
        return [self._described(scope, budgets.get(scope), counters) for scope in scopes]

    def _described(self, scope: Scope, budget: Row | None, counters: dict[Any, Row]) -> dict[str, Any]:
        kind, subject, place = scope
        read = {
            "scope": "user" if kind == "member" else kind,
            "workspace_id": None if kind == "user" else place,
            "document_id": subject if kind == "document" else None,
            "user_id": subject if kind in ("user", "member") else None,
            "enabled": budget["enabled"] if budget else True,
            "models": budget["models"] if budget else None,
        }
        for turn, period in enumerate(PERIODS):
            at = KINDS.index(kind) * 4 + turn * 2
            counter = counters.get((*scope, period)) or dict.fromkeys(_SPENT, 0)
            read[period] = {
                "limit_tokens": budget[f"{period}_tokens"] if budget else None,
                "limit_micro_usd": budget[f"{period}_micro_usd"] if budget else None,
                "ceiling_tokens": self._ceilings[at],
                "ceiling_micro_usd": self._ceilings[at + 1],
                **{name: counter[name] for name in _SPENT},
            }
        return read


def _scope(row: Row) -> Scope:
    return row["kind"], row["subject_id"], row["place_id"]


async def scope_of(
    places: Places,
    caller: Caller,
    name: str,
    workspace_id: UUID | None,
    document_id: UUID | None,
    user_id: UUID | None,
    action: Action,
) -> Scope:
    """The scope somebody means, if they may do this there; about themselves everybody may.

    Raises `ScopeIncompleteError`, `WorkspaceNotFoundError`, `DocumentNotFoundError`, `ActionForbiddenError`.
    """
    who = user_id or caller.user_id
    if name == "document":
        if document_id is None:
            raise ScopeIncompleteError
        place = await places.require(caller, await places.find(workspace_id, document_id), action)
        assert place.workspace_id is not None  # noqa: S101 - a document lies in one
        return "document", document_id, place.workspace_id
    if name == "user" and workspace_id is None:
        if who != caller.user_id:
            raise ScopeIncompleteError("name the workspace the member is of")
        return "user", who, NOBODY
    if workspace_id is None:
        raise ScopeIncompleteError
    await places.require(caller, Place(workspace_id), action)
    if name == "workspace":
        return "workspace", workspace_id, workspace_id
    if who != caller.user_id and not await places.is_member(caller, workspace_id, who):
        raise WorkspaceNotFoundError("they are no member of this workspace")
    return "member", who, workspace_id
