from auth_gateway.models import Table
from common.migrations import run_env

run_env("auth_gateway", Table.metadata)
