"""Brings the fleet's database to the state the services need: it exists, has all roles, and is at the newest schema."""

import subprocess
import sys
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from deploy.local.programs import Fleet


class DatabaseUnreachableError(Exception):
    """The PostgreSQL we were given does not take us."""


class MigrationFailedError(Exception):
    """Provisioning or migrating failed; the message carries the end of the log."""


def create_database(fleet: Fleet) -> None:
    """Create our database if the server does not have it. Raises `DatabaseUnreachableError`."""
    name = urlsplit(fleet.environments.database_url()).path.lstrip("/")
    try:
        with psycopg.connect(fleet.backing_url("postgres"), autocommit=True, connect_timeout=10) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        raise DatabaseUnreachableError(f"PostgreSQL cannot be used (POSTGRES_URL?): {error}") from error


def migrate(fleet: Fleet) -> None:
    """Make roles and schemas, then bring all six services' schemas to their newest revision."""
    log = fleet.layout.logs / "migrations.log"
    with log.open("wb") as output:
        for verb in ("provision", "upgrade"):
            done = subprocess.run(
                [sys.executable, "-m", "common.migrations", verb],
                cwd=fleet.layout.root,
                env=fleet.migration_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode != 0:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise MigrationFailedError(f"{verb} failed:\n{tail}")
