"""Budgets, usage, models."""

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from common.dependencies import BEARER
from common.idempotency import json_response

from ..dependencies import Budgets, TheCatalog, UsableModels, Usages
from ..domain.prices import PICO
from ..schemas import BudgetList, BudgetRead, BudgetWrite, ModelList, ScopeName, UsageRead

router = APIRouter(prefix="/v1/ai", tags=["ai"], dependencies=[BEARER])

Day = Annotated[date | None, Query(description="A day (UTC), included")]


@router.get("/budgets", response_model=BudgetList)
async def list_budgets(
    budgets: Budgets, workspace_id: UUID | None = None, document_id: UUID | None = None, user_id: UUID | None = None
) -> Response:
    """Budgets a call of the caller's there has to keep to, and what is left; of a member's for who manages them."""
    return json_response({"items": await budgets.list_for(workspace_id, document_id, user_id)})


@router.put("/budgets", response_model=BudgetRead)
async def put_budget(body: BudgetWrite, budgets: Budgets) -> Response:
    """Set a scope's budget, whole; `enabled: false` switches AI off there."""
    return json_response(await budgets.put(body))


@router.get("/usage", response_model=UsageRead)
async def get_usage(
    usages: Usages,
    scope: ScopeName = "user",
    workspace_id: UUID | None = None,
    document_id: UUID | None = None,
    user_id: UUID | None = None,
    period: Literal["day", "month"] = "day",
    since: Day = None,
    until: Day = None,
) -> Response:
    """What was used, by day or month and by model: the caller's own, a member's, a workspace's or a document's."""
    return json_response(await usages.read(scope, workspace_id, document_id, user_id, period, since, until))


@router.get("/models", response_model=ModelList)
async def list_models(models: UsableModels, catalog: TheCatalog) -> Response:
    """What the caller may use, in general or in a workspace (`?workspace_id=`), with prices and limits."""
    prices = catalog.prices
    items = [
        {
            "id": name, "provider": provider, "wire": catalog.get(provider).wire.name,
            "input_usd": prices.of(name).input / PICO, "output_usd": prices.of(name).output / PICO,
            "context_tokens": prices.of(name).context, "answer_tokens": prices.of(name).answer,
        }
        for provider, name in models
    ]  # fmt: skip
    return json_response({"items": items, "prices_as_of": prices.as_of})
