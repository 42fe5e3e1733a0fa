"""Settings of ai-proxy, read from `AI_PROXY_*` and `MDC_*`."""

from common.settings import CommonSettings


class Settings(CommonSettings):
    """What ai-proxy can be told."""

    service = "ai-proxy"
