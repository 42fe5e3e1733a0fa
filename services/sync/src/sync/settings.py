"""Settings of sync, read from `SYNC_*` and `MDC_*`."""

from pydantic import Field, SecretStr

from common.settings import CommonSettings


class Settings(CommonSettings):
    """What sync can be told."""

    service = "sync"

    cursor_keys: SecretStr = Field(
        description="Keys that sign cursors, separated by commas: the first signs, all are honoured"
    )
    retention_days: int = Field(
        default=90, ge=1, description="How long a device may be away before it has to bootstrap again"
    )
