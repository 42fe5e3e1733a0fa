"""A service's migrations on a database of their own: up, compared with the models, down to nothing, up again."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
from alembic import command
from psycopg.sql import SQL, Identifier

from common.migrations import Login, config, provision, upgrade
from common.revisions import schema_of
from common.settings import env_prefix

SCHEMA_TOO_OLD_EXIT = 3
CATALOG = """
    SELECT 'column', table_name, column_name, data_type || is_nullable || coalesce(column_default, '')
    FROM information_schema.columns WHERE table_schema = %(schema)s
    UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = %(schema)s
    UNION ALL SELECT 'policy', tablename, policyname, concat(roles, cmd, qual, with_check) FROM pg_policies
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = %(schema)s::regnamespace
    UNION ALL SELECT 'function', proname, proowner::regrole::text, concat(pg_get_functiondef(oid), proacl)
        FROM pg_proc WHERE pronamespace = %(schema)s::regnamespace
    UNION ALL SELECT 'grant', relname, relkind::text, concat(relowner::regrole, relacl, relrowsecurity,
        relforcerowsecurity) FROM pg_class WHERE relnamespace = %(schema)s::regnamespace
    UNION ALL SELECT 'default', defaclrole::regrole::text, defaclobjtype::text, defaclacl::text FROM pg_default_acl
    ORDER BY 1, 2, 3, 4
"""


def check_up_and_down(service: str, environment: Mapping[str, str]) -> list[tuple[Any, ...]]:
    """Migrate up, down and up again; the catalog the migrations made.

    On the way a service that finds no schema, or the one before the first revision, must refuse to start.
    """
    schema = schema_of(service)
    with _scratch_database(service, environment) as (owner_url, runtime_url):
        _refuses_to_start(service, environment, runtime_url)
        upgrade(service, owner_url)
        command.check(config(service, owner_url))
        made = _catalog(owner_url, schema)
        command.downgrade(config(service, owner_url), "base")
        left = {row[1].removeprefix(f"{schema}.") for row in _catalog(owner_url, schema)}
        assert left == {"alembic_version", "alembic_version_pkc"}, left
        _refuses_to_start(service, environment, runtime_url)
        upgrade(service, owner_url)
        assert _catalog(owner_url, schema) == made
    return made


@contextmanager
def _scratch_database(service: str, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A new database with the service's roles and empty schema: URLs of the owner and of the runtime role."""
    admin, name = environment["MDC_ADMIN_DATABASE_URL"], f"scratch_{uuid4().hex}"

    def url(variable: str) -> str:
        return environment[env_prefix(service) + variable].rsplit("/", 1)[0] + f"/{name}"

    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    owner, runtime, worker = [
        Login.of(url(variable)) for variable in ("OWNER_DATABASE_URL", "DATABASE_URL", "WORKER_DATABASE_URL")
    ]
    for _ in range(2):  # again changes nothing
        provision(admin.rsplit("/", 1)[0] + f"/{name}", service, owner=owner, runtime=runtime, worker=worker)
    yield url("OWNER_DATABASE_URL"), url("DATABASE_URL")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def _catalog(url: str, schema: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(CATALOG, {"schema": schema}).fetchall()


def _refuses_to_start(service: str, environment: Mapping[str, str], database_url: str) -> None:
    prefix = env_prefix(service)
    done = subprocess.run(
        [sys.executable, "-m", "common.serve", service],
        env={**os.environ, **environment, f"{prefix}DATABASE_URL": database_url, f"{prefix}PORT": "0"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == SCHEMA_TOO_OLD_EXIT, done.stderr
    assert "run the migrations" in done.stderr
