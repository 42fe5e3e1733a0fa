from common.migrations import run_env
from files.models import Table

run_env("files", Table.metadata)
