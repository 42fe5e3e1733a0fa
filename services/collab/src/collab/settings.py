"""Settings of collab, read from `COLLAB_*` and `MDC_*`."""

from common.settings import CommonSettings


class Settings(CommonSettings):
    """What collab can be told."""

    service = "collab"
