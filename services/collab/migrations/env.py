from collab.models import Table
from common.migrations import run_env

run_env("collab", Table.metadata)
