"""Settings of sync, read from `SYNC_*` and `MDC_*`."""

from common.settings import CommonSettings


class Settings(CommonSettings):
    """What sync can be told."""

    service = "sync"
