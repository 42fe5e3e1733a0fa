"""Wiring: what this service holds beside the platform, and the service objects of one request."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from common.access import Action
from common.database import Transaction
from common.dependencies import BearerToken, CurrentUser
from common.platform import Platform

from .domain.prices import PriceTable
from .providers.catalog import Catalog, read_catalog
from .providers.keyring import Keyring, LocalWrapper
from .providers.line import Line, Patience
from .service import (
    AssistService,
    BudgetService,
    Caller,
    Caps,
    Exchanges,
    Facts,
    Intake,
    KeyService,
    Meter,
    Models,
    Place,
    Places,
    Terms,
    UsageService,
)
from .settings import Ceiling, Settings

KINDS = ("user", "member", "workspace", "document")


@dataclass(frozen=True, slots=True)
class Resources:
    """Process-wide parts beside the platform."""

    exchanges: Exchanges
    catalog: Catalog
    keyring: Keyring
    places: Places
    models: Models
    meter: Meter
    intake: Intake
    caps: Caps
    body_limit: int


@asynccontextmanager
async def resources(platform: Platform) -> AsyncIterator[Resources]:
    """Providers, the way to them, the meter."""
    settings = platform.settings
    assert isinstance(settings, Settings)  # noqa: S101 - main.create() built it
    platform.chores.append(f"forget_usage({settings.usage_days})")
    platform.access.projections = Facts(settings.schema_name)
    catalog = _catalog(settings)
    keyring = Keyring(LocalWrapper(settings.key_encryption_keys.get_secret_value().split(",")))
    places = Places(platform.database, platform.client, platform.access, platform.revocations)
    models = Models(platform.database, places)
    caps = _caps(settings)
    meter = Meter(platform.database, platform.worker, places, catalog.prices, caps)
    line = Line(
        Patience(
            settings.connect_seconds,
            settings.first_byte_seconds,
            settings.idle_seconds,
            settings.total_seconds,
            settings.attempts,
        )
    )
    exchanges = Exchanges(
        meter, catalog, line, keyring, places, models, platform.connections, Terms(settings.answer_limit_bytes)
    )
    intake = Intake(caps.calls_per_user)
    platform.supervise("meter", meter.run())
    try:
        yield Resources(exchanges, catalog, keyring, places, models, meter, intake, caps, settings.body_limit_bytes)
    finally:
        await line.close()


def _catalog(settings: Settings) -> Catalog:
    more = {name: price.model_dump() for one in settings.providers.values() for name, price in one.prices.items()}
    prices = PriceTable.load(more, settings.unknown_model)
    return read_catalog(settings.providers, json.loads(settings.provider_keys.get_secret_value()), prices)


def _caps(settings: Settings) -> Caps:
    return Caps(
        ceilings(settings.ceilings),
        settings.calls_per_user,
        settings.calls_per_workspace,
        settings.tokens_per_minute,
        settings.personal_calls,
        settings.lease_seconds,
    )


def ceilings(given: Sequence[Ceiling]) -> list[int | None]:
    """Tokens and micro-dollars of a day, then of a month, for each kind of scope; the lowest if several are given."""
    found: list[int | None] = [None] * 16
    for one in given:
        at = KINDS.index(one.scope) * 4 + (0 if one.period == "day" else 2)
        for offset, limit in enumerate((one.tokens, one.micro_usd)):
            known = found[at + offset]
            if limit is not None:
                found[at + offset] = limit if known is None else min(known, limit)
    return found


async def caller(user: CurrentUser, credentials: BearerToken) -> Caller:
    """Who asks."""
    assert credentials is not None  # noqa: S101 - there is no user without
    return Caller(user, credentials.credentials)


CurrentCaller = Annotated[Caller, Depends(caller)]


async def _transaction(request: Request, caller: CurrentCaller) -> AsyncIterator[Transaction]:
    platform: Platform = request.app.state.platform
    async with platform.database.transaction(caller.user_id) as transaction:
        yield transaction


CallerTransaction = Annotated[Transaction, Depends(_transaction, scope="function")]


async def budget_service(request: Request, caller: CurrentCaller, transaction: CallerTransaction) -> BudgetService:
    """Budgets on behalf of the caller."""
    own: Resources = request.app.state.resources
    return BudgetService(transaction, own.places, caller, own.caps.ceilings)


async def usage_service(request: Request, caller: CurrentCaller, transaction: CallerTransaction) -> UsageService:
    """Usage on behalf of the caller."""
    own: Resources = request.app.state.resources
    return UsageService(transaction, own.places, caller)


async def key_service(request: Request, caller: CurrentCaller, transaction: CallerTransaction) -> KeyService:
    """Own keys on behalf of the caller."""
    own: Resources = request.app.state.resources
    return KeyService(transaction, own.places, own.catalog, own.keyring, caller)


async def assist_service(request: Request, caller: CurrentCaller) -> AssistService:
    """Assistance on behalf of the caller; no transaction is open while a model answers."""
    own: Resources = request.app.state.resources
    platform: Platform = request.app.state.platform
    settings = platform.settings
    assert isinstance(settings, Settings)  # noqa: S101 - main.create() built it
    return AssistService(
        own.exchanges,
        own.catalog,
        own.places,
        platform.client,
        caller,
        model=settings.assist_model,
        context_tokens=settings.assist_context_tokens,
    )


async def heartbeat_seconds(request: Request) -> float:
    """Longest silence on a stream of ours."""
    settings = request.app.state.platform.settings
    assert isinstance(settings, Settings)  # noqa: S101 - main.create() built it
    return settings.heartbeat_seconds


async def models_of(request: Request, caller: CurrentCaller, workspace_id: UUID | None = None) -> list[tuple[str, str]]:
    """Provider and name of each model the caller may use."""
    own: Resources = request.app.state.resources
    place = Place(workspace_id)
    if workspace_id:
        await own.places.require(caller, place, Action.READ)
    allowed = await own.models.allowed(caller, place)
    return [pair for pair in own.catalog.models() if all(pair[1] in models for models in allowed)]


Budgets = Annotated[BudgetService, Depends(budget_service)]
Usages = Annotated[UsageService, Depends(usage_service)]
Keys = Annotated[KeyService, Depends(key_service)]
Assist = Annotated[AssistService, Depends(assist_service)]
Heartbeat = Annotated[float, Depends(heartbeat_seconds)]
UsableModels = Annotated[list[tuple[str, str]], Depends(models_of)]


async def the_catalog(request: Request) -> Catalog:
    """Providers and prices."""
    own: Resources = request.app.state.resources
    return own.catalog


TheCatalog = Annotated[Catalog, Depends(the_catalog)]
