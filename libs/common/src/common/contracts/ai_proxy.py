"""Events of ai-proxy: who may spend how much on AI, and whose own keys are kept. Never what was asked or answered."""

from uuid import UUID

from common.contracts import Event


class BudgetChanged(Event):
    """A scope's budget, whole; `enabled` false: no AI there, `models`: only these. Limits in tokens and micro-USD."""

    type = "ai-proxy.budget.changed.v1"
    budget_id: UUID
    scope: str
    workspace_id: UUID | None
    user_id: UUID | None
    document_id: UUID | None
    enabled: bool
    models: list[str] | None
    day_tokens: int | None
    day_micro_usd: int | None
    month_tokens: int | None
    month_micro_usd: int | None
    version: int


class KeyState(Event):
    """A key of a user's or workspace's own at a provider, by its last characters."""

    key_id: UUID
    workspace_id: UUID | None
    user_id: UUID | None
    provider: str
    last4: str
    version: int


class KeyStored(KeyState):
    """It is used from now on, and what was kept before no more."""

    type = "ai-proxy.key.stored.v1"


class KeyDeleted(KeyState):
    """It is kept no more."""

    type = "ai-proxy.key.deleted.v1"
