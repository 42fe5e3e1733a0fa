"""Guests, groups, suspended memberships; settings, soft deletion and allowed domains of workspaces."""

from alembic import op

from common.ddl import define, protect

revision = "0003"
down_revision = "0002"

ME = "(SELECT auth_gateway.app_user())"
MINE = "ANY((SELECT auth_gateway.my_roots())::uuid[])"
ENTERED = "ANY((SELECT auth_gateway.my_workspaces())::uuid[])"
DELETED = "ANY((SELECT auth_gateway.my_deleted_workspaces())::uuid[])"
MY_GROUPS = "ANY((SELECT auth_gateway.my_groups())::uuid[])"
MY_EMAIL = f"(SELECT a.email FROM auth_gateway.account a WHERE a.id = {ME})"

ROLES_BEFORE = "'owner', 'admin', 'editor', 'commenter', 'viewer'"

TABLES = (
    "ALTER TABLE auth_gateway.member DROP CONSTRAINT member_role_check, "
    f"ADD CONSTRAINT member_role_check CHECK (role IN ({ROLES_BEFORE}, 'guest')), "
    # `removed` too: whoever knows nothing of suspension, releases of before included, takes it for an ended one.
    "ADD COLUMN suspended boolean NOT NULL DEFAULT false, "
    "ADD CONSTRAINT member_suspended_check CHECK (removed OR NOT suspended)",
    "ALTER TABLE auth_gateway.invitation DROP CONSTRAINT invitation_role_check, "
    f"ADD CONSTRAINT invitation_role_check CHECK (role IN ({ROLES_BEFORE}, 'guest'))",
    """ALTER TABLE auth_gateway.workspace
        ADD COLUMN allowed_domains text[] NOT NULL DEFAULT '{}',
        ADD COLUMN trash_days integer NOT NULL DEFAULT 30 CHECK (trash_days BETWEEN 1 AND 365),
        ADD COLUMN mfa_required boolean NOT NULL DEFAULT false,
        ADD COLUMN ai_models text[],
        ADD COLUMN deleted_at timestamptz""",
    "CREATE INDEX ix_workspace_allowed_domains ON auth_gateway.workspace USING gin (allowed_domains)",
    """CREATE TABLE auth_gateway.user_group (
        id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL
            CONSTRAINT fk_user_group_workspace_id REFERENCES auth_gateway.workspace ON DELETE CASCADE,
        name text COLLATE "und-x-icu" NOT NULL,
        version bigint NOT NULL,
        removed boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )""",
    "CREATE UNIQUE INDEX uq_user_group_name ON auth_gateway.user_group (workspace_id, lower(name)) WHERE NOT removed",
    """CREATE TABLE auth_gateway.group_member (
        group_id uuid NOT NULL
            CONSTRAINT fk_group_member_group_id REFERENCES auth_gateway.user_group ON DELETE CASCADE,
        user_id uuid NOT NULL CONSTRAINT fk_group_member_user_id REFERENCES auth_gateway.account ON DELETE CASCADE,
        workspace_id uuid NOT NULL,
        removed boolean NOT NULL,
        version bigint NOT NULL,
        PRIMARY KEY (group_id, user_id)
    )""",
    "CREATE INDEX ix_group_member_user_id ON auth_gateway.group_member (user_id, workspace_id)",
)

_LIVING = (
    "FROM auth_gateway.member m JOIN auth_gateway.workspace w ON w.id = m.workspace_id "
    "WHERE m.user_id = auth_gateway.app_user() AND NOT m.removed AND w.deleted_at IS "
)
_BY_INVITATION_OR_CREATION = (
    "wanted = 'owner' AND EXISTS (SELECT 1 FROM auth_gateway.workspace w "
    "WHERE w.id = workspace AND w.created_by = auth_gateway.app_user() "
    "AND NOT EXISTS (SELECT 1 FROM auth_gateway.member m WHERE m.workspace_id = w.id)) "
    "OR EXISTS (SELECT 1 FROM auth_gateway.invitation i JOIN auth_gateway.account a ON a.email = i.email "
    "WHERE a.id = auth_gateway.app_user() AND i.workspace_id = workspace AND i.role = wanted "
    "AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now())"
)
_INVITATION_BY = (
    "SELECT i.id, i.workspace_id, w.name, i.email, i.role, a.display_name, i.expires_at, i.accepted_at, "
    "i.accepted_by, i.revoked_at FROM auth_gateway.invitation i "
    "JOIN auth_gateway.workspace w ON w.id = i.workspace_id "
    "JOIN auth_gateway.account a ON a.id = i.invited_by WHERE i.token_hash = hash"
)
_INVITATION = (
    "TABLE (id uuid, workspace_id uuid, workspace_name text, email text, role text, invited_by text, "
    "expires_at timestamptz, accepted_at timestamptz, accepted_by uuid, revoked_at timestamptz)"
)


def _ids(query: str) -> str:
    return f"BEGIN RETURN coalesce((SELECT array_agg({query}), '{{}}'); END"


FUNCTIONS = (
    ("my_workspaces()", "uuid[]", _ids(f"m.workspace_id) {_LIVING} NULL"), "plpgsql"),
    (
        "my_deleted_workspaces()",
        "uuid[]",
        _ids(f"m.workspace_id) {_LIVING} NOT NULL AND m.role = 'owner'"),
        "plpgsql",
    ),
    (
        "my_groups()",
        "uuid[]",
        _ids(
            "g.group_id) FROM auth_gateway.group_member g WHERE g.user_id = auth_gateway.app_user() AND NOT g.removed "
            "AND g.workspace_id = ANY(auth_gateway.my_workspaces())"
        ),
        "plpgsql",
    ),
    (  # what other services must know even of deleted ones, which the members themselves do not see
        "my_workspace_facts()",
        "TABLE (workspace_id uuid, name text, version bigint, removed boolean)",
        "SELECT w.id, w.name, w.version, w.deleted_at IS NOT NULL FROM auth_gateway.member m "
        "JOIN auth_gateway.workspace w ON w.id = m.workspace_id "
        "WHERE m.user_id = auth_gateway.app_user() AND NOT m.removed",
        "sql",
    ),
    (  # where the domain of one's address is allowed, unless one is there or suspended
        "joinable()",
        "TABLE (id uuid, name text, verified boolean)",
        "SELECT w.id, w.name, a.email_verified_at IS NOT NULL FROM auth_gateway.account a "
        "JOIN auth_gateway.workspace w ON w.allowed_domains @> ARRAY[substring(a.email FROM '[^@]*$')] "
        "WHERE a.id = auth_gateway.app_user() AND w.deleted_at IS NULL AND NOT EXISTS ("
        "SELECT 1 FROM auth_gateway.member m WHERE m.workspace_id = w.id AND m.user_id = a.id "
        "AND (m.suspended OR NOT m.removed))",
        "sql",
    ),
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    for table in ("user_group", "group_member"):
        op.execute(f"GRANT SELECT ON auth_gateway.{table} TO auth_gateway_definer")
        op.execute(f"REVOKE DELETE ON auth_gateway.{table} FROM auth_gateway")  # their tombstones are facts
    for signature, returns, body, language in FUNCTIONS:
        define(op, "auth_gateway", signature, returns, body, language=language)
    replace("my_roots()", "uuid[]", _ids(f"m.workspace_id) {_LIVING} NULL AND m.role <> 'guest'"), "plpgsql")
    replace(
        "may_join(workspace uuid, wanted text)",
        "boolean",
        f"SELECT NOT EXISTS (SELECT 1 FROM auth_gateway.workspace w WHERE w.id = workspace AND w.deleted_at "
        f"IS NOT NULL) AND ({_BY_INVITATION_OR_CREATION} OR wanted = 'editor' AND EXISTS ("
        "SELECT 1 FROM auth_gateway.joinable() j WHERE j.id = workspace AND j.verified))",
    )
    replace("invitation_by_token(hash bytea)", _INVITATION, f"{_INVITATION_BY} AND w.deleted_at IS NULL")
    shares = (
        "EXISTS (SELECT 1 FROM auth_gateway.member m WHERE m.user_id = account.id AND (m.suspended OR NOT m.removed) "
        f"AND m.workspace_id = {MINE})"
    )
    op.execute(f"ALTER POLICY runtime ON auth_gateway.account USING (id = {ME} OR {shares})")
    changes = f"id = {MINE} OR id = {DELETED}"
    op.execute(
        f"ALTER POLICY runtime ON auth_gateway.workspace USING (id = {ENTERED} OR id = {DELETED}) "
        f"WITH CHECK ({changes} OR created_by = {ME})"
    )
    # Guests may lock the row, which serialises changes of members, but not change it.
    op.execute(
        "CREATE POLICY runtime_update ON auth_gateway.workspace AS RESTRICTIVE FOR UPDATE TO auth_gateway "
        f"USING (true) WITH CHECK ({changes})"
    )
    joins = f"user_id = {ME} AND auth_gateway.may_join(workspace_id, role)"
    leaves = f"user_id = {ME} AND workspace_id = {ENTERED} AND removed AND NOT suspended"
    op.execute(
        f"ALTER POLICY runtime ON auth_gateway.member WITH CHECK (workspace_id = {MINE} OR ({joins}) OR ({leaves}))"
    )
    # Who joins as a guest closes the own invitation, and sees no other.
    op.execute(
        f"ALTER POLICY runtime ON auth_gateway.invitation "
        f"USING (workspace_id = {MINE} OR (workspace_id = {ENTERED} AND invitation.email = {MY_EMAIL})) "
        f"WITH CHECK (workspace_id = {MINE} OR (workspace_id = {ENTERED} AND invitation.email = {MY_EMAIL} "
        f"AND accepted_by = {ME}))"
    )
    # A guest who leaves takes the own name out of the groups: a change of theirs too.
    protect(op, "auth_gateway", "user_group", f"workspace_id = {MINE} OR id = {MY_GROUPS}")
    protect(
        op,
        "auth_gateway",
        "group_member",
        f"workspace_id = {MINE} OR user_id = {ME}",
        check=f"workspace_id = {MINE} OR (user_id = {ME} AND removed AND group_id = {MY_GROUPS})",
    )


def replace(signature: str, returns: str, body: str, language: str = "sql") -> None:
    """Another body for a function that policies or releases of before call."""
    op.execute(
        f"CREATE OR REPLACE FUNCTION auth_gateway.{signature} RETURNS {returns} LANGUAGE {language} STABLE "
        f"SECURITY DEFINER SET search_path = '' AS $body$ {body} $body$"
    )


def downgrade() -> None:
    op.execute("DROP TABLE auth_gateway.group_member, auth_gateway.user_group")
    op.execute(
        f"ALTER POLICY runtime ON auth_gateway.invitation USING (workspace_id = {MINE}) "
        f"WITH CHECK (workspace_id = {MINE})"
    )
    joins = f"user_id = {ME} AND auth_gateway.may_join(workspace_id, role)"
    op.execute(f"ALTER POLICY runtime ON auth_gateway.member WITH CHECK (workspace_id = {MINE} OR ({joins}))")
    op.execute("DROP POLICY runtime_update ON auth_gateway.workspace")
    op.execute(
        f"ALTER POLICY runtime ON auth_gateway.workspace USING (id = {MINE}) "
        f"WITH CHECK (id = {MINE} OR created_by = {ME})"
    )
    shares = (
        "EXISTS (SELECT 1 FROM auth_gateway.member m WHERE m.user_id = account.id AND NOT m.removed "
        f"AND m.workspace_id = {MINE})"
    )
    op.execute(f"ALTER POLICY runtime ON auth_gateway.account USING (id = {ME} OR {shares})")
    replace("invitation_by_token(hash bytea)", _INVITATION, _INVITATION_BY)
    replace("may_join(workspace uuid, wanted text)", "boolean", f"SELECT {_BY_INVITATION_OR_CREATION}")
    replace(
        "my_roots()",
        "uuid[]",
        "BEGIN RETURN coalesce((SELECT array_agg(m.workspace_id) FROM auth_gateway.member m "
        "WHERE m.user_id = nullif(current_setting('app.user_id', true), '')::uuid AND NOT m.removed), '{}'); END",
        "plpgsql",
    )
    for signature, *_ in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION auth_gateway.{signature}")
    # Releases of before know no guests.
    op.execute(
        "UPDATE auth_gateway.member SET role = 'viewer', removed = true, version = version + 1 WHERE role = 'guest'"
    )
    op.execute("UPDATE auth_gateway.invitation SET role = 'viewer', revoked_at = now() WHERE role = 'guest'")
    op.execute(
        "ALTER TABLE auth_gateway.member DROP CONSTRAINT member_role_check, DROP CONSTRAINT member_suspended_check, "
        f"DROP COLUMN suspended, ADD CONSTRAINT member_role_check CHECK (role IN ({ROLES_BEFORE}))"
    )
    op.execute(
        "ALTER TABLE auth_gateway.invitation DROP CONSTRAINT invitation_role_check, "
        f"ADD CONSTRAINT invitation_role_check CHECK (role IN ({ROLES_BEFORE}))"
    )
    op.execute(
        "ALTER TABLE auth_gateway.workspace DROP COLUMN allowed_domains, DROP COLUMN trash_days, "
        "DROP COLUMN mfa_required, DROP COLUMN ai_models, DROP COLUMN deleted_at"
    )
