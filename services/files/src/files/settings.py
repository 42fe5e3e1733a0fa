"""Settings of files, read from `FILES_*` and `MDC_*`."""

from common.settings import CommonSettings


class Settings(CommonSettings):
    """What files can be told."""

    service = "files"
