"""Settings of ai-proxy, read from `AI_PROXY_*` and `MDC_*`."""

import json
from decimal import Decimal
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from common.settings import CommonSettings

MIB = 1024**2
USD = 1_000_000
"""Micro-dollars."""


class Price(BaseModel):
    """US dollars for a million tokens, for a model the price table does not have."""

    model_config = ConfigDict(extra="forbid")
    input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)
    context: int = Field(default=128_000, ge=1)
    answer: int = Field(default=16_384, ge=1)


class ProviderSettings(BaseModel):
    """Where a provider answers and what it is asked for."""

    model_config = ConfigDict(extra="forbid")
    wire: Literal["openai", "anthropic"]
    base_url: str = Field(pattern=r"^https?://[^\s?#@]+$")
    models: list[str] = Field(default=[], description="Models asked here; none: whatever no other provider has")
    prices: dict[str, Price] = {}
    fallbacks: dict[str, str] = Field(default={}, description="Model -> the one asked when it cannot be had")
    stream_usage: bool = Field(default=True, description="Whether it takes `stream_options.include_usage`")


class Ceiling(BaseModel):
    """A limit of the operator's on every scope of a kind; those set there can only be lower."""

    model_config = ConfigDict(extra="forbid")
    scope: Literal["user", "member", "workspace", "document"]
    period: Literal["day", "month"]
    tokens: int | None = Field(default=None, ge=0)
    micro_usd: int | None = Field(default=None, ge=0)


DEFAULT_PROVIDERS = {
    "openai": ProviderSettings(wire="openai", base_url="https://api.openai.com/v1"),
    "anthropic": ProviderSettings(wire="anthropic", base_url="https://api.anthropic.com/v1"),
}
DEFAULT_CEILINGS = [
    Ceiling(scope="user", period="day", micro_usd=20 * USD),
    Ceiling(scope="workspace", period="month", micro_usd=1000 * USD),
]


class Settings(CommonSettings):
    """What ai-proxy can be told."""

    service = "ai-proxy"

    providers: dict[str, ProviderSettings] = Field(
        default=DEFAULT_PROVIDERS, description="Name -> wire, base_url, models, prices, fallbacks, stream_usage"
    )
    provider_keys: SecretStr = Field(default=SecretStr("{}"), description="Name -> our key there, JSON")
    key_encryption_keys: SecretStr = Field(
        description="Keys that wrap the keys of users' own keys, separated by commas: the first wraps, all unwrap"
    )
    assist_model: str = Field(default="gpt-5-mini", description="Model of /assist unless another is asked for")
    unknown_model: str | None = Field(
        default=None, description="Model whose price holds for unknown ones; without, those are refused"
    )
    ceilings: list[Ceiling] = Field(
        default=DEFAULT_CEILINGS, description="Limits nobody can set higher: scope, period, tokens, micro_usd"
    )
    personal_calls: bool = Field(default=True, description="Whether a call may belong to no workspace")
    calls_per_user: int = Field(default=8, ge=1, description="Calls of a user at once")
    calls_per_workspace: int = Field(default=64, ge=1, description="Calls of a workspace at once")
    tokens_per_minute: int = Field(default=500_000, ge=1, description="Tokens a user may use each minute")
    connect_seconds: float = Field(default=3.0, gt=0, description="Wait for a provider's connection")
    first_byte_seconds: float = Field(default=300.0, gt=0, description="Wait for a provider's first byte")
    idle_seconds: float = Field(default=60.0, gt=0, description="Wait for a provider's next byte")
    total_seconds: float = Field(default=1800.0, gt=0, description="Longest call")
    answer_limit_bytes: int = Field(default=32 * MIB, ge=1024, description="Longest answer")
    attempts: int = Field(default=3, ge=1, le=5, description="Times a provider is asked before its first byte")
    lease_seconds: float = Field(default=20.0, ge=1, description="Silence after which a process counts as dead")
    usage_days: int = Field(default=400, ge=32, description="How long the ledger of calls is kept")
    assist_context_tokens: int = Field(default=24_000, ge=1000, description="Tokens of text /assist hands on at most")
    heartbeat_seconds: float = Field(default=15.0, gt=0, description="Longest silence on a stream of /assist")

    @field_validator("provider_keys")
    @classmethod
    def _names_to_keys(cls, value: SecretStr) -> SecretStr:
        try:
            keys = json.loads(value.get_secret_value())
        except ValueError:
            raise ValueError("not JSON") from None  # which would be quoted, keys and all
        if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
            raise ValueError("an object: name of a provider -> key")
        return value

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        if unknown := set(json.loads(self.provider_keys.get_secret_value())) - set(self.providers):
            raise ValueError(f"PROVIDER_KEYS names unknown providers: {', '.join(sorted(unknown))}")
        return self
