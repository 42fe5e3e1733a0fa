"""What PostgreSQL itself refuses: row-level security, grants, foreign schemas, as the very roles services use."""

import psycopg
import pytest
from psycopg import errors as pg

PROTECTED = ("document", "version", "body", "folder")


async def act_as(connection, person):
    await connection.execute("SELECT set_config('app.user_id', %s, true)", (str(person.id),))


async def count(connection, table, document_id=None):
    row = await (await connection.execute(f"SELECT count(*) AS n FROM documents.{table}")).fetchone()
    return row["n"]


async def test_without_a_user_nothing_is_visible(people, place, as_runtime_role, as_owner_role):
    await people.document(place.owner, place.id, "a\n")
    await people.folder(place.owner, place.id)
    for table in PROTECTED:
        assert await count(as_runtime_role, table) == 0
        assert await count(as_owner_role, table) > 0


async def test_context_does_not_outlive_its_transaction(people, place, as_runtime_role):
    await people.document(place.owner, place.id, "a\n")
    await act_as(as_runtime_role, place.owner)
    assert await count(as_runtime_role, "document") > 0
    await as_runtime_role.commit()
    assert await count(as_runtime_role, "document") == 0


async def test_a_stranger_sees_no_row_of_any_table(people, place, as_runtime_role):
    document = await people.document(place.owner, place.id, "a\n")
    await act_as(as_runtime_role, place.stranger)
    for table, column in (("document", "id"), ("version", "document_id"), ("body", "sha256")):
        value = document["content_hash"] if table == "body" else document["id"]
        cursor = await as_runtime_role.execute(f"SELECT 1 FROM documents.{table} WHERE {column} = %s", (value,))
        assert await cursor.fetchone() is None


async def test_a_stranger_cannot_write_into_a_workspace(place, as_runtime_role):
    await act_as(as_runtime_role, place.stranger)
    with pytest.raises(pg.InsufficientPrivilege):
        await as_runtime_role.execute(
            "INSERT INTO documents.body (workspace_id, sha256, size, data) VALUES (%s, 'x', 0, '')", (place.id,)
        )


async def test_a_stranger_changes_no_row(people, place, as_runtime_role):
    document = await people.document(place.owner, place.id, "a\n")
    await act_as(as_runtime_role, place.stranger)
    for statement in ("UPDATE documents.document SET title = 'x'", "DELETE FROM documents.document"):
        cursor = await as_runtime_role.execute(statement + " WHERE id = %s", (document["id"],))
        assert cursor.rowcount == 0


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM auth_gateway.account",
        "SELECT * FROM sync.outbox",
        "CREATE TABLE documents.mine ()",
        "CREATE TABLE public.mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "ALTER TABLE documents.document DISABLE ROW LEVEL SECURITY",
        "DROP POLICY runtime ON documents.document",
        "TRUNCATE documents.document",
        "SET ROLE documents_owner",
        "SET ROLE documents_definer",
        "UPDATE documents.alembic_version SET version_num = 'x'",
    ],
)
async def test_the_runtime_role_may_not(as_runtime_role, statement):
    with pytest.raises(pg.InsufficientPrivilege):
        await as_runtime_role.execute(statement)


async def test_the_runtime_role_has_no_attributes(as_runtime_role):
    row = await (
        await as_runtime_role.execute(
            "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        )
    ).fetchone()
    assert not any(row.values())


async def test_every_table_with_content_is_under_forced_rls(as_owner_role):
    rows = await (
        await as_owner_role.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'documents'::regnamespace AND relkind = 'r' "
            "AND relrowsecurity AND relforcerowsecurity"
        )
    ).fetchall()
    assert {row["relname"] for row in rows} == {*PROTECTED, "op_result"}


async def test_a_data_migration_by_the_owner_sees_rows(people, place, as_owner_role):
    document = await people.document(place.owner, place.id, "a\n")
    cursor = await as_owner_role.execute("UPDATE documents.document SET kind = kind WHERE id = %s", (document["id"],))
    assert cursor.rowcount == 1


async def test_definer_functions_pin_their_search_path_and_belong_to_nobody_who_logs_in(as_owner_role):
    rows = await (
        await as_owner_role.execute(
            "SELECT p.proname, p.proconfig, r.rolname, r.rolcanlogin FROM pg_proc p "
            "JOIN pg_roles r ON r.oid = p.proowner WHERE p.pronamespace = 'documents'::regnamespace AND p.prosecdef"
        )
    ).fetchall()
    assert {"my_roots", "my_access", "my_role", "my_workspaces", "lineage", "roots_in", "held", "place_of"} <= {
        row["proname"] for row in rows
    }
    assert all(row["proconfig"] == ['search_path=""'] for row in rows)
    owned = ("ensure_partitions", "drop_expired", "drop_op_results", "drop_live_exports")
    readers = [row for row in rows if row["proname"] not in owned]
    assert all(row["rolname"] == "documents_definer" and not row["rolcanlogin"] for row in readers)


async def test_the_public_may_call_no_definer_function(environment, as_owner_role):
    row = await (
        await as_owner_role.execute(
            "SELECT count(*) AS n FROM pg_proc p WHERE p.pronamespace = 'documents'::regnamespace AND p.prosecdef "
            "AND has_function_privilege('sync', p.oid, 'EXECUTE')"
        )
    ).fetchone()
    assert row["n"] == 0


async def test_expired_partitions_and_keys_go(environment, as_runtime_role, as_owner_role):
    await as_owner_role.execute(
        "CREATE TABLE documents.outbox_sent_p20200101 PARTITION OF documents.outbox_sent "
        "FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
    )
    await as_owner_role.execute(
        "INSERT INTO documents.idempotency (user_id, method, path, key, request_hash, created_at) "
        "VALUES (gen_random_uuid(), 'POST', '/', 'old', '', now() - interval '25 hours')"
    )
    await as_runtime_role.execute("SELECT documents.ensure_partitions(), documents.drop_expired()")
    await as_runtime_role.commit()
    row = await (
        await as_owner_role.execute(
            "SELECT to_regclass('documents.outbox_sent_p20200101') AS part, "
            "(SELECT count(*) FROM documents.idempotency WHERE key = 'old') AS keys, "
            "(SELECT count(*) FROM pg_inherits WHERE inhparent = 'documents.outbox_sent'::regclass) AS parts"
        )
    ).fetchone()
    assert (row["part"], row["keys"]) == (None, 0)
    assert row["parts"] >= 8


def test_psycopg_connects_as_these_roles_only_with_their_password(environment):
    url = environment["DOCUMENTS_DATABASE_URL"]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url.replace("documents:", "documents:wrong"))
