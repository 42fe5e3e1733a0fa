"""Settings of collab, read from `COLLAB_*` and `MDC_*`."""

from pydantic import Field, SecretStr, field_validator

from common.settings import CommonSettings

SHORTEST_KEY = 32


class Settings(CommonSettings):
    """What collab can be told."""

    service = "collab"

    ticket_keys: SecretStr = Field(
        description="Keys that sign tickets, separated by commas: the first signs, all are honoured"
    )

    @field_validator("ticket_keys")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if any(len(key) < SHORTEST_KEY for key in value.get_secret_value().split(",")):
            raise ValueError(f"every key has at least {SHORTEST_KEY} characters")
        return value
