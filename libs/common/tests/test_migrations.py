"""The migration commands people type."""

import subprocess
import sys

import psycopg
import pytest

from common.migrations import upgrade
from common.revisions import older_revisions, script_location


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "common.migrations", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("arguments", [("new",), ("new", "", "x"), ("new", "nope", "x"), ("new", "files", "")])
def test_a_migration_without_service_or_message_is_refused(environment, arguments):
    done = run(*arguments)
    assert (done.returncode, "make migration s=<" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_a_new_revision_is_numbered_on_and_can_be_read_by_the_service(environment):
    versions = script_location("files") / "versions"
    before = set(versions.glob("*.py"))
    done = run("new", "files", "what changes")
    assert done.returncode == 0, done.stderr
    (made,) = set(versions.glob("*.py")) - before
    try:
        assert made.name == f"{len(before) + 1:04}_what_changes.py"
        older_revisions.cache_clear()
        assert f"{len(before):04}" in older_revisions("files")
    finally:
        made.unlink()
        older_revisions.cache_clear()


def test_a_schema_newer_than_this_release_is_left_as_it_is(environment, capsys):
    """Somebody checked an older branch out: the code keeps working, and nobody gets a traceback."""
    url = environment["FILES_OWNER_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as owner:
        (head,) = owner.execute("SELECT version_num FROM files.alembic_version").fetchone()
        owner.execute("UPDATE files.alembic_version SET version_num = '9999'")
        try:
            upgrade("files", url)
            assert owner.execute("SELECT version_num FROM files.alembic_version").fetchone() == ("9999",)
        finally:
            owner.execute("UPDATE files.alembic_version SET version_num = %s", (head,))
    assert "newer than this release" in capsys.readouterr().err
