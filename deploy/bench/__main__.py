"""`make bench`: all tables, or `table=` one."""

import sys

from deploy.bench import bus, rest

TABLES = {"rest": rest.main, "bus": bus.main}

wanted = sys.argv[1:] or list(TABLES)
for name in wanted:
    TABLES[name]()
