"""Settings every service shares: `<SERVICE>_X` from the environment wins over `MDC_X`."""

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict


class CommonSettings(BaseSettings):
    """One subclass per service, built once in `main.create()`; a missing secret stops the start by name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_parse_none_str="null")
    service: ClassVar[str]

    version: str = Field(default="0.1.0", description="Release shown at /version")
    host: str = Field(default="127.0.0.1", description="Address both ports listen on")
    port: int = Field(description="Public port, behind the gateway")
    internal_port: int = Field(description="Port of /internal, never routed")
    database_url: SecretStr = Field(description="PostgreSQL URL of the runtime role")
    worker_database_url: SecretStr = Field(description="PostgreSQL URL of the worker role: relay and consumers")
    database_pool_max: int = Field(default=8, ge=1, description="Connections this process may hold")
    database_timeout_seconds: float = Field(default=2.0, description="Wait for a free connection")
    redis_url: SecretStr = Field(description="Redis URL: revocations, rate limits")
    amqp_url: SecretStr | None = Field(default=None, description="Event bus: RabbitMQ URL")
    events_topic_arn: str | None = Field(
        default=None,
        pattern=r"^arn:aws[a-z-]*:sns:[^:]+:\d+:[\w-]+$",
        description="Or on AWS: SNS topic",
    )
    events_queue_prefix: str = Field(default="", description="SQS queues are named this and the service")
    aws_endpoint_url: str | None = Field(default=None, description="Stand-in for AWS, in tests")
    state_dir: Path = Field(description="Folder for spans and the last JWKS")
    issuer: str = Field(description="Public base URL, `iss` of access tokens")
    audience: str = Field(default="mdcreator", description="`aud` of access tokens")
    internal_urls: dict[str, str] = Field(description="Service name -> internal base URL")
    service_key: SecretStr = Field(description="Own Ed25519 private JWK, signs service assertions")
    service_public_keys: dict[str, Any] = Field(description="JWKS of all services' public keys, `kid` = service")
    trusted_hops: int = Field(default=1, ge=0, description="Proxies in front that append to X-Forwarded-For")
    cors_origins: list[str] = Field(default=[], description="Origins of browser clients")
    body_limit_bytes: int = Field(default=10 * 1024 * 1024, description="Largest request body")
    rate_read_per_minute: int = Field(default=6000, description="Reads per user and minute")
    rate_write_per_minute: int = Field(default=3000, description="Writes per user and minute")
    rate_anonymous_per_minute: int = Field(default=300, description="Anonymous requests per client IP and minute")
    drain_seconds: float = Field(default=0.0, description="Ready answers 503 this long before connections close")
    otlp_endpoint: str | None = Field(default=None, description="OTLP/HTTP traces URL; spans always go to files too")
    log_level: str = Field(default="INFO", description="Lowest level logged")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Constructor arguments, then the service's own prefix, then the shared one."""
        own = EnvSettingsSource(settings_cls, env_prefix=env_prefix(cls.service))
        shared = EnvSettingsSource(settings_cls, env_prefix="MDC_")
        return init_settings, own, shared

    @model_validator(mode="after")
    def _one_bus(self) -> Self:
        if (self.amqp_url is None) == (self.events_topic_arn is None):
            raise ValueError("give one event bus: AMQP_URL, or EVENTS_TOPIC_ARN")
        return self

    @property
    def schema_name(self) -> str:
        """PostgreSQL schema and runtime role of this service."""
        return self.service.replace("-", "_")


def env_prefix(service: str) -> str:
    """`ai-proxy` -> `AI_PROXY_`."""
    return service.upper().replace("-", "_") + "_"
