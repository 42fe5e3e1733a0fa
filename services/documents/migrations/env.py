from common.migrations import run_env
from documents.models import Table

run_env("documents", Table.metadata)
