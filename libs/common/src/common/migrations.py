"""Roles, schemas and migrations: who may do what in PostgreSQL, and which revision it is at.

`python -m common.migrations provision` (superuser or CREATEROLE, once and idempotent) makes per service a schema,
an owner role (DDL), a runtime role (DML under row-level security), a worker role (relay and consumers: what events
need and no more) and a NOLOGIN definer role that owns the SECURITY DEFINER functions.
`python -m common.migrations upgrade [service…]` runs Alembic as the owner.
"""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import psycopg
from alembic import command, context
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import MetaData, create_engine, pool, text

from common.revisions import SERVICES, schema_of, script_location
from common.settings import env_prefix

LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "10min"
PARTITION = re.compile(r"_(p2\d+|default)$")
"""outbox_sent_p20261123: made by ensure_partitions(), unknown to the models."""


def config(service: str, url: str | None = None) -> Config:
    """Alembic configuration of one service; `url` is its owner's."""
    result = Config()
    result.set_main_option("script_location", str(script_location(service)).replace("%", "%%"))
    result.attributes["url"] = url
    return result


def run_env(schema: str, metadata: MetaData) -> None:
    """Body of every `migrations/env.py`: own version table, timeouts, one transaction a revision."""
    url = context.config.attributes["url"]
    engine = create_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=metadata,
            version_table_schema=schema,
            include_schemas=True,
            include_name=lambda name, kind, _: kind != "schema" or name == schema,
            include_object=lambda _object, name, kind, _reflected, _to: (
                not (kind == "table" and name is not None and PARTITION.search(name))
            ),
            compare_type=True,
            compare_server_default=False,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


def sqlalchemy_url(url: str) -> str:
    """A libpq URL with SQLAlchemy's name of the psycopg 3 driver."""
    return "postgresql+psycopg://" + url.split("://", 1)[1]


def upgrade(service: str, owner_url: str, revision: str = "head") -> None:
    """Bring the service's schema to `revision`; one that a newer release has migrated is left as it is."""
    if _is_newer(service, owner_url):
        sys.stderr.write(f"{service}: the schema is newer than this release; left as it is\n")
        return
    command.upgrade(config(service, owner_url), revision)


def _is_newer(service: str, owner_url: str) -> bool:
    """Whether the database is at a revision this release does not have: old code keeps working on it."""
    scripts = ScriptDirectory.from_config(config(service, owner_url))
    known = {script.revision for script in scripts.walk_revisions()}
    with psycopg.connect(owner_url) as connection:
        table = f"{schema_of(service)}.alembic_version"
        if connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() == (None,):
            return False
        found = connection.execute(f"SELECT version_num FROM {table}").fetchall()
    return any(revision not in known for (revision,) in found)


def new_revision(service: str, message: str) -> None:
    """Write a revision that leads from the migrated database to the models, numbered on from the last one."""
    versions = script_location(service) / "versions"
    number = f"{len(list(versions.glob('*.py'))) + 1:04}"
    settings = config(service, _url(service, "OWNER_DATABASE_URL"))
    command.revision(settings, message, autogenerate=True, rev_id=number)


@dataclass(frozen=True, slots=True)
class Login:
    """A role that logs in."""

    role: str
    password: str

    @classmethod
    def of(cls, url: str) -> Self:
        """The one a libpq URL logs in as."""
        parts = conninfo_to_dict(url)
        return cls(str(parts["user"]), str(parts["password"]))


def provision(admin_url: str, service: str, *, owner: Login, runtime: Login, worker: Login) -> None:
    """Create the service's roles, schema and grants, or bring them to this state."""
    schema = schema_of(service)
    definer = f"{schema}_definer"
    with psycopg.connect(admin_url, autocommit=True) as connection:
        for login in (owner, runtime, worker):
            _role(connection, login.role, login.password)
        _role(connection, definer, None)
        database = connection.info.dbname
        names = {
            "schema": sql.Identifier(schema),
            "owner": sql.Identifier(owner.role),
            "runtime": sql.Identifier(runtime.role),
            "worker": sql.Identifier(worker.role),
            "definer": sql.Identifier(definer),
            "database": sql.Identifier(database),
            "me": sql.Identifier(connection.info.user),
        }
        for statement in (
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            "REVOKE ALL ON SCHEMA public FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {database} TO {owner}, {runtime}, {worker}",
            "GRANT {owner} TO {me}",
            "GRANT {definer} TO {owner}",
            "CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner}",
            "GRANT USAGE ON SCHEMA {schema} TO {runtime}, {worker}",
            "GRANT USAGE, CREATE ON SCHEMA {schema} TO {definer}",
            "ALTER ROLE {runtime} SET idle_in_transaction_session_timeout = '30s'",
            "ALTER ROLE {runtime} SET statement_timeout = '8s'",
            "ALTER ROLE {runtime} SET lock_timeout = '5s'",
            "ALTER ROLE {worker} SET idle_in_transaction_session_timeout = '30s'",
            "ALTER ROLE {worker} SET statement_timeout = '15s'",
            "ALTER ROLE {worker} SET lock_timeout = '10s'",
        ):
            connection.execute(sql.SQL(statement).format(**names))


def _role(connection: psycopg.Connection[Any], name: str, password: str | None) -> None:
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    verb = "ALTER" if exists else "CREATE"
    login = sql.SQL("LOGIN PASSWORD {}").format(sql.Literal(password)) if password else sql.SQL("NOLOGIN")
    connection.execute(
        sql.SQL("{} ROLE {} {} NOCREATEDB NOCREATEROLE").format(sql.SQL(verb), sql.Identifier(name), login)
    )


def _main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["provision"]:
        for service in arguments[1:] or SERVICES:
            provision(
                os.environ["MDC_ADMIN_DATABASE_URL"],
                service,
                owner=Login.of(_url(service, "OWNER_DATABASE_URL")),
                runtime=Login.of(_url(service, "DATABASE_URL")),
                worker=Login.of(_url(service, "WORKER_DATABASE_URL")),
            )
        return 0
    if arguments[:1] == ["upgrade"]:
        for service in arguments[1:] or SERVICES:
            upgrade(service, _url(service, "OWNER_DATABASE_URL"))
        return 0
    match arguments:
        case ["new", service, message] if service in SERVICES and message.strip():
            new_revision(service, message)
            return 0
    sys.stderr.write(
        "usage: python -m common.migrations provision|upgrade [service…] | new <service> <message>\n"
        f'or: make migration s=<{"|".join(SERVICES)}> m="what changes"\n'
    )
    return 2


def _url(service: str, name: str) -> str:
    return os.environ[env_prefix(service) + name]


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))
