"""DDL of the facts rights are decided by, and of functions that decide in SQL as `decisions.role_at` does in Python.

`my_roots()`: access roots the current user may read, for row-level security; `my_workspaces()`: where they are a member
or guest; `my_access(workspace)`: those in one
workspace with the role in each, for lists; `my_role(root)`: the role at one root. PL/pgSQL, since its plans are kept
for the session. Frozen with the revisions that call it: a later change is a new function called by a new revision.
"""

from common.access.decisions import RANKED
from common.ddl import Op, define

_ROLES = "'{" + ",".join(RANKED) + "}'::text[]"

TABLES = (
    "ALTER TABLE SCHEMA_NAME.access_workspace ADD COLUMN removed boolean NOT NULL DEFAULT false",
    """CREATE TABLE SCHEMA_NAME.access_group (
        group_id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL,
        name text NOT NULL,
        removed boolean NOT NULL,
        version bigint NOT NULL
    )""",
    "CREATE INDEX ix_access_group_workspace_id ON SCHEMA_NAME.access_group (workspace_id)",
    """CREATE TABLE SCHEMA_NAME.access_group_member (
        user_id uuid NOT NULL,
        group_id uuid NOT NULL,
        workspace_id uuid NOT NULL,
        removed boolean NOT NULL,
        version bigint NOT NULL,
        PRIMARY KEY (user_id, group_id)
    )""",
    "CREATE INDEX ix_access_group_member_group_id ON SCHEMA_NAME.access_group_member (group_id)",
    """CREATE TABLE SCHEMA_NAME.access_root (
        root_id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL,
        kind text NOT NULL,
        parent_id uuid NOT NULL,
        inherits boolean NOT NULL,
        removed boolean NOT NULL,
        version bigint NOT NULL
    )""",
    "CREATE INDEX ix_access_root_parent_id ON SCHEMA_NAME.access_root (parent_id) WHERE NOT removed",
    "CREATE INDEX ix_access_root_workspace_id ON SCHEMA_NAME.access_root (workspace_id) WHERE NOT removed",
    """CREATE TABLE SCHEMA_NAME.access_grant (
        root_id uuid NOT NULL,
        principal_id uuid NOT NULL,
        kind text NOT NULL,
        role text NOT NULL,
        PRIMARY KEY (root_id, principal_id)
    )""",
    "CREATE INDEX ix_access_grant_principal_id ON SCHEMA_NAME.access_grant (principal_id)",
)
READ = ("access_workspace", "access_group", "access_group_member", "access_root", "access_grant")

_DECLARE = """DECLARE
    me uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    mine uuid[];"""
_MINE = """
    mine := me || array(
        SELECT g.group_id FROM SCHEMA_NAME.access_group_member g WHERE g.user_id = me AND NOT g.removed);"""
_MEMBER = """
        SELECT m.workspace_id, m.role FROM SCHEMA_NAME.access_member m
        WHERE m.user_id = me AND NOT m.removed AND NOT EXISTS (
            SELECT 1 FROM SCHEMA_NAME.access_workspace w WHERE w.workspace_id = m.workspace_id AND w.removed)"""

MY_ROOTS = f"""{_DECLARE}
BEGIN{_MINE}
    RETURN coalesce((
    WITH RECURSIVE member AS ({_MEMBER}
    ), reach (root_id) AS (
        (SELECT workspace_id FROM member WHERE role <> 'guest'
         UNION ALL
         SELECT r.root_id FROM SCHEMA_NAME.access_grant g
         JOIN SCHEMA_NAME.access_root r ON r.root_id = g.root_id AND NOT r.removed
         JOIN member m ON m.workspace_id = r.workspace_id
         WHERE g.principal_id = ANY(mine))
        UNION
        SELECT c.root_id FROM reach JOIN SCHEMA_NAME.access_root c
        ON c.parent_id = reach.root_id AND c.inherits AND NOT c.removed
    )
    SELECT array_agg(root_id) FROM reach), '{{}}');
END"""

MY_WORKSPACES = f"""{_DECLARE}
BEGIN
    RETURN coalesce((SELECT array_agg(member.workspace_id) FROM ({_MEMBER}) AS member), '{{}}');
END"""

MY_ACCESS = f"""{_DECLARE}
BEGIN{_MINE}
    RETURN QUERY
    WITH RECURSIVE member AS ({_MEMBER} AND m.workspace_id = place
    ), reach (root_id, rank) AS (
        (SELECT workspace_id, array_position({_ROLES}, member.role) FROM member WHERE member.role <> 'guest'
         UNION ALL
         SELECT r.root_id, array_position({_ROLES}, g.role) FROM SCHEMA_NAME.access_grant g
         JOIN SCHEMA_NAME.access_root r ON r.root_id = g.root_id AND NOT r.removed
         JOIN member m ON m.workspace_id = r.workspace_id
         WHERE g.principal_id = ANY(mine))
        UNION
        SELECT c.root_id, reach.rank FROM reach JOIN SCHEMA_NAME.access_root c
        ON c.parent_id = reach.root_id AND c.inherits AND NOT c.removed
    )
    SELECT reach.root_id, ({_ROLES})[max(reach.rank)] FROM reach GROUP BY reach.root_id;
END"""

MY_ROLE = f"""{_DECLARE}
    place uuid := root;
    at uuid := root;
    spot record;
    standing text;
    best int;
BEGIN
    SELECT r.workspace_id, r.parent_id, r.inherits INTO spot FROM SCHEMA_NAME.access_root r
    WHERE r.root_id = root AND NOT r.removed;
    IF FOUND THEN place := spot.workspace_id; END IF;
    SELECT m.role INTO standing FROM SCHEMA_NAME.access_member m
    WHERE m.user_id = me AND m.workspace_id = place AND NOT m.removed AND NOT EXISTS (
        SELECT 1 FROM SCHEMA_NAME.access_workspace w WHERE w.workspace_id = place AND w.removed);
    IF standing IS NULL OR at = place THEN RETURN nullif(standing, 'guest'); END IF;{_MINE}
    LOOP
        best := greatest(best, (SELECT max(array_position({_ROLES}, g.role)) FROM SCHEMA_NAME.access_grant g
                                WHERE g.root_id = at AND g.principal_id = ANY(mine)));
        EXIT WHEN NOT spot.inherits;
        at := spot.parent_id;
        IF at = place THEN
            best := greatest(best, array_position({_ROLES}, nullif(standing, 'guest')));
            EXIT;
        END IF;
        SELECT r.workspace_id, r.parent_id, r.inherits INTO spot FROM SCHEMA_NAME.access_root r
        WHERE r.root_id = at AND NOT r.removed;
        EXIT WHEN NOT FOUND;
    END LOOP;
    RETURN ({_ROLES})[best];
END"""


def install_access(op: Op, schema: str) -> None:
    """Groups, access roots and grants beside the memberships of before; the functions that decide by all of them."""
    for statement in TABLES:
        op.execute(statement.replace("SCHEMA_NAME", schema))
    for table in READ:
        op.execute(f"REVOKE INSERT, UPDATE, DELETE ON {schema}.{table} FROM {schema}")
        op.execute(f"GRANT SELECT, INSERT, UPDATE ON {schema}.{table} TO {schema}_worker")
        op.execute(f"GRANT SELECT ON {schema}.{table} TO {schema}_definer")
    op.execute(f"GRANT DELETE ON {schema}.access_grant TO {schema}_worker")
    body = MY_ROOTS.replace("SCHEMA_NAME", schema)
    # Policies depend on it, so it is replaced, not dropped.
    op.execute(
        f"CREATE OR REPLACE FUNCTION {schema}.my_roots() RETURNS uuid[] LANGUAGE plpgsql STABLE SECURITY DEFINER "
        f"SET search_path = '' AS $body$ {body} $body$"
    )
    for signature, returns, text in (
        ("my_workspaces()", "uuid[]", MY_WORKSPACES),
        ("my_access(place uuid)", "TABLE (root_id uuid, role text)", MY_ACCESS),
        ("my_role(root uuid)", "text", MY_ROLE),
    ):
        define(op, schema, signature, returns, text.replace("SCHEMA_NAME", schema), language="plpgsql")


def drop_access(op: Op, schema: str) -> None:
    """Undo `install_access`."""
    op.execute(f"DROP FUNCTION {schema}.my_role(uuid), {schema}.my_access(uuid), {schema}.my_workspaces()")
    op.execute(
        f"CREATE OR REPLACE FUNCTION {schema}.my_roots() RETURNS uuid[] LANGUAGE plpgsql STABLE SECURITY DEFINER "
        f"SET search_path = '' AS $body$ BEGIN RETURN coalesce((SELECT array_agg(m.workspace_id) "
        f"FROM {schema}.access_member m WHERE m.user_id = nullif(current_setting('app.user_id', true), '')::uuid "
        "AND NOT m.removed), '{}'); END $body$"
    )
    for table in ("access_grant", "access_root", "access_group_member", "access_group"):
        op.execute(f"DROP TABLE {schema}.{table}")
    op.execute(f"ALTER TABLE {schema}.access_workspace DROP COLUMN removed")


def install_revocations(op: Op, schema: str) -> None:
    """What an owner of rights has announced as lowered (`common.revocations`)."""
    op.execute(
        f"CREATE TABLE {schema}.revocation (entry text PRIMARY KEY, expires_at timestamptz NOT NULL, "
        "written_at timestamptz NOT NULL DEFAULT now())"
    )
    op.execute(f"CREATE INDEX ix_revocation_written_at ON {schema}.revocation (written_at)")
    op.execute(f"CREATE INDEX ix_revocation_expires_at ON {schema}.revocation (expires_at)")
    op.execute(
        f"CREATE FUNCTION {schema}.drop_revocations() RETURNS void LANGUAGE sql SET search_path = '' "
        f"AS $$ DELETE FROM {schema}.revocation WHERE expires_at < now() $$"
    )
