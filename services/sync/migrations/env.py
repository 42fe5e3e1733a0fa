from common.migrations import run_env
from sync.models import Table

run_env("sync", Table.metadata)
