"""`make bench`: all tables, or `table=` one, whose further arguments are its own."""

import sys

from deploy.bench import bus, rest, sync
from deploy.bench.ai import table as ai
from deploy.bench.collab import table as collab
from deploy.bench.files import table as files

TABLES = {
    "rest": rest.main,
    "bus": bus.main,
    "sync": sync.main,
    "collab": collab.main,
    "files": files.main,
    "ai": ai.main,
}

wanted = sys.argv[1:2] or list(TABLES)
sys.argv[1:] = sys.argv[2:]
for name in wanted:
    TABLES[name]()
