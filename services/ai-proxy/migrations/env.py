from ai_proxy.models import Table
from common.migrations import run_env

run_env("ai_proxy", Table.metadata)
