"""Migrations on a database of their own, and what a service does on a schema that is too old."""

import os
import subprocess
import sys

import psycopg
import pytest
from alembic import command
from psycopg.conninfo import conninfo_to_dict

from common.migrations import config, provision, upgrade

SERVICE = "auth-gateway"
CATALOG = """
    SELECT 'column', table_name, column_name, data_type || is_nullable || coalesce(column_default, '')
    FROM information_schema.columns WHERE table_schema = 'auth_gateway'
    UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'auth_gateway'
    UNION ALL SELECT 'policy', tablename, policyname, concat(roles, cmd, qual, with_check) FROM pg_policies
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'auth_gateway'::regnamespace
    UNION ALL SELECT 'function', proname, proowner::regrole::text, concat(pg_get_functiondef(oid), proacl)
        FROM pg_proc WHERE pronamespace = 'auth_gateway'::regnamespace
    UNION ALL SELECT 'grant', relname, relkind::text, concat(relowner::regrole, relacl, relrowsecurity,
        relforcerowsecurity) FROM pg_class WHERE relnamespace = 'auth_gateway'::regnamespace
    UNION ALL SELECT 'default', defaclrole::regrole::text, defaclobjtype::text, defaclacl::text FROM pg_default_acl
    ORDER BY 1, 2, 3, 4
"""


@pytest.fixture
def scratch(environment):
    """A new database with the service's roles and empty schema: URLs of the owner and of the runtime role."""
    admin = environment["MDC_ADMIN_DATABASE_URL"]

    def url(name):
        return environment[f"AUTH_GATEWAY_{name}"].rsplit("/", 1)[0] + "/scratch"

    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("CREATE DATABASE scratch")
    roles = [conninfo_to_dict(url(name)) for name in ("OWNER_DATABASE_URL", "DATABASE_URL")]
    owner, runtime = [(str(role["user"]), str(role["password"])) for role in roles]
    for _ in range(2):  # again changes nothing
        provision(admin.rsplit("/", 1)[0] + "/scratch", SERVICE, owner=owner, runtime=runtime)
    yield url("OWNER_DATABASE_URL"), url("DATABASE_URL")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("DROP DATABASE scratch WITH (FORCE)")


def _catalog(url):
    with psycopg.connect(url) as connection:
        return connection.execute(CATALOG).fetchall()


def _start(environment, database_url):
    """Exit code and log of a service on this database; its ports are never opened."""
    done = subprocess.run(
        [sys.executable, "-m", "common.serve", SERVICE],
        env={**os.environ, **environment, "AUTH_GATEWAY_DATABASE_URL": database_url, "AUTH_GATEWAY_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


def test_up_matches_the_models_and_down_leaves_nothing(scratch, environment):
    owner_url, runtime_url = scratch
    code, log = _start(environment, runtime_url)
    assert (code, "run the migrations" in log) == (3, True), log

    upgrade(SERVICE, owner_url)
    command.check(config(SERVICE, owner_url))
    first = _catalog(owner_url)
    assert {row[1] for row in first if row[0] == "policy"} == {
        "account", "session", "email_token", "workspace", "member", "invitation"
    }  # fmt: skip

    command.downgrade(config(SERVICE, owner_url), "base")
    assert {row[1].removeprefix("auth_gateway.") for row in _catalog(owner_url)} == {
        "alembic_version", "alembic_version_pkc"
    }  # fmt: skip
    code, log = _start(environment, runtime_url)
    assert (code, "run the migrations" in log) == (3, True), log

    upgrade(SERVICE, owner_url)
    assert _catalog(owner_url) == first


def test_the_runtime_role_cannot_migrate(environment):
    with pytest.raises(Exception, match="must be owner"):
        command.downgrade(config(SERVICE, environment["AUTH_GATEWAY_DATABASE_URL"]), "base")
