"""Row-level security, tried with plain connections as the roles the services have."""

from uuid import uuid4

import psycopg
import pytest
from psycopg import errors as pg

PROTECTED = (
    "account", "session", "email_token", "workspace", "member", "invitation", "user_group", "group_member"
)  # fmt: skip

TOMBSTONES = ("user_group", "group_member")


async def rows(connection, statement, *parameters):
    return await (await connection.execute(statement, parameters)).fetchall()


@pytest.fixture
async def two_workspaces(people):
    """Ada's and Eve's, each with a session, a member, an open invitation and a verification link."""
    made = []
    for name in ("Ada", "Eve"):
        person, member = await people.person(name), await people.person(f"{name}s-friend")
        workspace = await people.workspace(person, name)
        await people.join(workspace, member, "editor")
        await person.http.post(f"/v1/workspaces/{workspace}/invitations", json={"email": f"{uuid4()}@example.org"})
        await person.http.post("/v1/auth/verify-email/resend")
        group = await person.http.post(f"/v1/workspaces/{workspace}/groups", json={"name": "All"})
        await person.http.put(f"/v1/workspaces/{workspace}/groups/{group.json()['id']}/members/{member.id}")
        made.append((person, member, workspace))
    return made


async def test_without_a_user_nothing_is_seen_or_changed(two_workspaces, runtime):
    async with runtime() as connection:
        for table in PROTECTED:
            assert await rows(connection, f"SELECT 1 FROM auth_gateway.{table}") == [], table
            if table not in TOMBSTONES:
                assert (await connection.execute(f"DELETE FROM auth_gateway.{table}")).rowcount == 0
        assert await rows(connection, "SELECT auth_gateway.my_roots()") == [([],)]
    async with runtime(uuid4()) as connection:
        for table in PROTECTED:
            assert await rows(connection, f"SELECT 1 FROM auth_gateway.{table}") == [], table


async def test_a_user_sees_the_own_workspaces_and_people_only(two_workspaces, runtime):
    (ada, friend, workspace), _ = two_workspaces
    async with runtime(ada.id) as connection:
        assert await rows(connection, "SELECT id::text FROM auth_gateway.workspace") == [(workspace,)]
        members = await rows(connection, "SELECT user_id FROM auth_gateway.member WHERE workspace_id = %s", workspace)
        assert {user for (user,) in members} == {ada.id, friend.id}
        accounts = await rows(connection, "SELECT id FROM auth_gateway.account")
        assert {user for (user,) in accounts} == {ada.id, friend.id}
        assert await rows(connection, "SELECT DISTINCT user_id FROM auth_gateway.session") == [(ada.id,)]
        assert await rows(connection, "SELECT DISTINCT user_id FROM auth_gateway.email_token") == [(ada.id,)]
        invitations = await rows(connection, "SELECT DISTINCT workspace_id::text FROM auth_gateway.invitation")
        assert invitations == [(workspace,)]
        assert await rows(connection, "SELECT workspace_id::text FROM auth_gateway.user_group") == [(workspace,)]
        assert await rows(connection, "SELECT user_id FROM auth_gateway.group_member") == [(friend.id,)]


async def test_a_user_cannot_write_into_what_belongs_to_others(two_workspaces, runtime):
    (ada, _, _), (eve, _, hers) = two_workspaces
    async with runtime(ada.id) as connection:
        for statement, parameters in (
            ("UPDATE auth_gateway.account SET display_name = 'x' WHERE id = %s", (eve.id,)),
            ("UPDATE auth_gateway.session SET ended_at = now() WHERE user_id = %s", (eve.id,)),
            ("UPDATE auth_gateway.workspace SET name = 'x' WHERE id = %s", (hers,)),
            ("UPDATE auth_gateway.member SET role = 'viewer' WHERE workspace_id = %s", (hers,)),
            ("DELETE FROM auth_gateway.invitation WHERE workspace_id = %s", (hers,)),
            ("UPDATE auth_gateway.user_group SET name = 'x' WHERE workspace_id = %s", (hers,)),
            ("UPDATE auth_gateway.group_member SET removed = true WHERE workspace_id = %s", (hers,)),
        ):
            assert (await connection.execute(statement, parameters)).rowcount == 0
        for statement, parameters in (
            ("UPDATE auth_gateway.session SET user_id = %s", (eve.id,)),
            ("UPDATE auth_gateway.workspace SET id = %s, created_by = %s", (uuid4(), eve.id)),
            ("INSERT INTO auth_gateway.member VALUES (%s, %s, 'owner', 9, false)", (hers, eve.id)),
            (
                "INSERT INTO auth_gateway.invitation "
                "(id, workspace_id, email, role, token_hash, invited_by, expires_at) "
                "VALUES (%s, %s, 'x', 'owner', 'x', %s, now())",
                (uuid4(), hers, ada.id),
            ),
        ):
            with pytest.raises(pg.InsufficientPrivilege, match="row-level security"):
                await connection.execute(statement, parameters)


async def test_co_members_see_an_account_and_change_nothing_of_it(two_workspaces, runtime, owner):
    (ada, friend, _), _ = two_workspaces
    async with runtime(ada.id) as connection:
        for statement in (
            "DELETE FROM auth_gateway.account WHERE id = %s",
            "UPDATE auth_gateway.account SET display_name = 'x' WHERE id = %s",
        ):
            assert (await connection.execute(statement, (friend.id,))).rowcount == 0
        for statement in (
            "SELECT password_hash FROM auth_gateway.account",
            "SELECT * FROM auth_gateway.account",
            "UPDATE auth_gateway.account SET display_name = 'x' RETURNING password_hash",
            "SELECT 1 FROM auth_gateway.account WHERE password_hash LIKE '$argon2id%'",
        ):
            with pytest.raises(pg.InsufficientPrivilege, match="permission denied"):
                await connection.execute(statement)
        renamed = "UPDATE auth_gateway.account SET display_name = 'Me' RETURNING id"
        assert await rows(connection, renamed) == [(ada.id,)]
    assert len(await owner("SELECT 1 FROM auth_gateway.account WHERE id = %s", friend.id)) == 1


JOIN = (
    "INSERT INTO auth_gateway.member AS m (workspace_id, user_id, role, version, removed) "
    "VALUES (%s, %s, %s, 1, false) ON CONFLICT (workspace_id, user_id) DO UPDATE SET role = excluded.role, "
    "removed = false, version = m.version + 1 RETURNING version"
)


async def test_nobody_joins_a_workspace_uninvited(two_workspaces, runtime, owner):
    (ada, friend, workspace), (_, _, hers) = two_workspaces
    async with runtime(ada.id) as connection:
        for role in ("owner", "viewer"):
            with pytest.raises(pg.InsufficientPrivilege, match="row-level security"):
                await connection.execute(JOIN, (hers, ada.id, role))
    assert (await ada.http.delete(f"/v1/workspaces/{workspace}/members/{friend.id}")).status_code == 204
    async with runtime(friend.id) as connection:  # the own tombstone neither rises again nor goes
        for statement in (
            "UPDATE auth_gateway.member SET removed = false",
            "UPDATE auth_gateway.member SET role = 'owner'",
            f"UPDATE auth_gateway.member SET workspace_id = '{hers}', removed = false",
        ):
            with pytest.raises(pg.InsufficientPrivilege, match="row-level security"):
                await connection.execute(statement)
        assert (await connection.execute("DELETE FROM auth_gateway.member")).rowcount == 0
    [(removed,)] = await owner("SELECT removed FROM auth_gateway.member WHERE user_id = %s", friend.id)
    assert removed


async def test_an_open_invitation_lets_exactly_its_address_join_as_exactly_its_role(two_workspaces, runtime, owner):
    (ada, friend, workspace), (eve, _, _) = two_workspaces
    path = f"/v1/workspaces/{workspace}/invitations"
    assert (await ada.http.delete(f"/v1/workspaces/{workspace}/members/{friend.id}")).status_code == 204
    for person in (eve, friend):
        invited = await ada.http.post(path, json={"email": person.email, "role": "viewer"})
        assert invited.status_code == 201
        async with runtime(person.id) as connection:
            for other, role in ((person, "editor"), (ada, "viewer"), (person, "owner")):
                with pytest.raises(pg.InsufficientPrivilege, match="row-level security"):
                    await connection.execute(JOIN, (workspace, other.id, role))
            for closed in ("revoked_at", "accepted_at", "expires_at"):
                change = f"UPDATE auth_gateway.invitation SET {closed} = %s WHERE id = %s"
                was = "2999-01-01" if closed == "expires_at" else None
                await owner(change, "2020-01-01", invited.json()["id"])
                with pytest.raises(pg.InsufficientPrivilege, match="row-level security"):
                    await connection.execute(JOIN, (workspace, person.id, "viewer"))
                await owner(change, was, invited.json()["id"])
            assert await rows(connection, JOIN, workspace, person.id, "viewer") == [(3 if person is friend else 1,)]


async def test_only_its_creator_owns_a_new_workspace_and_only_once(people, runtime, owner):
    ada, eve = await people.person(), await people.person("Eve")
    workspace = uuid4()
    async with runtime(ada.id) as hers, runtime(eve.id) as eves:
        await hers.execute(
            "INSERT INTO auth_gateway.workspace (id, name, version, created_by) VALUES (%s, 'x', 1, %s)",
            (workspace, ada.id),
        )
        for connection, person, role in ((eves, eve, "owner"), (hers, eve, "owner"), (hers, ada, "viewer")):
            with pytest.raises(pg.InsufficientPrivilege, match="row-level security"):
                await connection.execute(JOIN, (workspace, person.id, role))
        assert await rows(hers, JOIN, workspace, ada.id, "owner") == [(1,)]
        await owner("UPDATE auth_gateway.member SET removed = true WHERE workspace_id = %s", workspace)
        with pytest.raises(pg.InsufficientPrivilege, match="row-level security"):
            await hers.execute(JOIN, (workspace, ada.id, "owner"))


async def test_an_ended_membership_shows_only_its_own_tombstone(two_workspaces, runtime):
    (ada, friend, workspace), _ = two_workspaces
    assert (await ada.http.delete(f"/v1/workspaces/{workspace}/members/{friend.id}")).status_code == 204
    async with runtime(friend.id) as connection:
        assert await rows(connection, "SELECT user_id, removed FROM auth_gateway.member") == [(friend.id, True)]
        assert await rows(connection, "SELECT 1 FROM auth_gateway.workspace") == []
        assert await rows(connection, "SELECT id FROM auth_gateway.account") == [(friend.id,)]
    async with runtime(ada.id) as connection:
        assert await rows(connection, "SELECT id FROM auth_gateway.account") == [(ada.id,)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM documents.document",
        "SELECT * FROM documents.access_member",
        "SELECT documents.workspace_of(gen_random_uuid())",
        "CREATE TABLE auth_gateway.mine (id int)",
        "CREATE TABLE public.mine (id int)",
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION auth_gateway.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE auth_gateway.account ADD COLUMN x int",
        "ALTER TABLE auth_gateway.account DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE auth_gateway.account NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY runtime ON auth_gateway.account",
        "CREATE POLICY mine ON auth_gateway.account USING (true)",
        "DROP TABLE auth_gateway.session",
        "TRUNCATE auth_gateway.session",
        "UPDATE auth_gateway.alembic_version SET version_num = '0000'",
        "DELETE FROM auth_gateway.user_group",
        "DELETE FROM auth_gateway.group_member",
        "SET ROLE auth_gateway_owner",
        "SET ROLE auth_gateway_definer",
        "SET ROLE documents",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "ALTER ROLE auth_gateway BYPASSRLS",
        "ALTER ROLE auth_gateway SUPERUSER",
        "GRANT auth_gateway_owner TO auth_gateway",
        "COPY auth_gateway.revocation TO PROGRAM 'true'",
        "SELECT pg_read_file('postgresql.conf')",
    ],
)
async def test_the_runtime_role_may_not(runtime, statement):
    async with runtime() as connection:
        with pytest.raises((pg.InsufficientPrivilege, pg.ReservedName)):
            await connection.execute(statement)


async def test_switching_row_security_off_shows_an_error_not_rows(two_workspaces, runtime):
    async with runtime() as connection:
        await connection.execute("SET row_security = off")
        with pytest.raises(pg.InsufficientPrivilege):
            await connection.execute("SELECT id FROM auth_gateway.account")


async def test_no_role_of_a_service_stands_above_the_rules(owner):
    roles = await owner(
        "SELECT rolname FROM pg_roles WHERE (rolname LIKE 'auth_gateway%%' OR rolname LIKE 'documents%%') "
        "AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)"
    )
    assert roles == []
    definers = await owner("SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname = 'auth_gateway_definer'")
    assert definers == [("auth_gateway_definer", False)]
    memberships = await owner(
        "SELECT m.rolname, r.rolname FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member "
        "JOIN pg_roles r ON r.oid = a.roleid WHERE m.rolname IN ('auth_gateway', 'auth_gateway_owner')"
    )
    assert memberships == [("auth_gateway_owner", "auth_gateway_definer")]


async def test_every_table_with_people_in_it_is_protected_even_from_its_owner(owner):
    open_tables = await owner(
        "SELECT relname FROM pg_class WHERE relnamespace = 'auth_gateway'::regnamespace AND relkind IN ('r', 'p') "
        "AND NOT (relrowsecurity AND relforcerowsecurity) AND relname NOT LIKE 'outbox_sent_p%%'"
    )
    assert {name for (name,) in open_tables} == {
        "alembic_version", "outbox", "outbox_sent", "inbox", "idempotency", "revocation"
    }  # fmt: skip


async def test_a_data_migration_of_the_owner_reaches_every_row(two_workspaces, owner, environment):
    async with await psycopg.AsyncConnection.connect(environment["MDC_ADMIN_DATABASE_URL"]) as superuser:
        for table in PROTECTED:
            [(everything,)] = await rows(superuser, f"SELECT count(*) FROM auth_gateway.{table}")
            assert await owner(f"SELECT count(*) FROM auth_gateway.{table}") == [(everything,)]
            assert everything >= 2
    (ada, _, _), (eve, _, _) = two_workspaces
    changed = await owner(
        "UPDATE auth_gateway.account SET display_name = upper(display_name) WHERE id IN (%s, %s) "
        "RETURNING display_name",
        ada.id,
        eve.id,
    )
    assert sorted(changed) == [("ADA",), ("EVE",)]


async def test_questions_before_there_is_a_user_need_the_secret(two_workspaces, runtime):
    (ada, _, _), _ = two_workspaces
    async with runtime() as connection:
        [(found, _)] = await rows(connection, "SELECT * FROM auth_gateway.credentials(%s)", ada.email)
        assert found == ada.id
        for wrong in ("", "%", ada.email[:-1] + "_", ada.email.upper()):
            assert await rows(connection, "SELECT * FROM auth_gateway.credentials(%s)", wrong) == []
        assert await rows(connection, "SELECT * FROM auth_gateway.invitation_by_token('x')") == []
