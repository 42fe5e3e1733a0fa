"""Accounts, sessions, workspaces, members, invitations, revocations; row-level security."""

from alembic import op

from common.ddl import define, define_roots, drop_shared, install_shared, protect

revision = "0001"
down_revision = None

ME = "(SELECT auth_gateway.app_user())"
MINE = "ANY((SELECT auth_gateway.my_roots())::uuid[])"
READABLE = "id, email, display_name, email_verified_at, version, created_at"  # credentials() alone reads the password

EXPIRED = (
    "revocation WHERE expires_at < now()",
    "email_token WHERE expires_at < now()",
    "session WHERE least(ended_at, expires_at) < now() - interval '30 days'",
)
TABLES = (
    """CREATE TABLE auth_gateway.account (
        id uuid PRIMARY KEY,
        email text NOT NULL CONSTRAINT uq_account_email UNIQUE,
        display_name text NOT NULL,
        password_hash text NOT NULL,
        email_verified_at timestamptz,
        version bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )""",
    """CREATE TABLE auth_gateway.session (
        id uuid PRIMARY KEY,
        user_id uuid NOT NULL CONSTRAINT fk_session_user_id REFERENCES auth_gateway.account ON DELETE CASCADE,
        device_id uuid,
        device_name text,
        client_ip text,
        amr text NOT NULL,
        generation bigint NOT NULL,
        refresh_hash bytea NOT NULL,
        replaced_at timestamptz[] NOT NULL DEFAULT '{}',
        created_at timestamptz NOT NULL DEFAULT now(),
        last_used_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        ended_at timestamptz
    )""",
    "CREATE INDEX ix_session_user_id ON auth_gateway.session (user_id)",
    """CREATE TABLE auth_gateway.email_token (
        token_hash bytea PRIMARY KEY,
        user_id uuid NOT NULL CONSTRAINT fk_email_token_user_id REFERENCES auth_gateway.account ON DELETE CASCADE,
        email text NOT NULL,
        expires_at timestamptz NOT NULL
    )""",
    """CREATE TABLE auth_gateway.workspace (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        version bigint NOT NULL,
        created_by uuid NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )""",
    """CREATE TABLE auth_gateway.member (
        workspace_id uuid NOT NULL
            CONSTRAINT fk_member_workspace_id REFERENCES auth_gateway.workspace ON DELETE CASCADE,
        user_id uuid NOT NULL CONSTRAINT fk_member_user_id REFERENCES auth_gateway.account ON DELETE CASCADE,
        role text NOT NULL CHECK (role IN ('owner', 'admin', 'editor', 'commenter', 'viewer')),
        version bigint NOT NULL,
        removed boolean NOT NULL,
        joined_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (workspace_id, user_id)
    )""",
    "CREATE INDEX ix_member_user_id ON auth_gateway.member (user_id)",
    """CREATE TABLE auth_gateway.invitation (
        id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL
            CONSTRAINT fk_invitation_workspace_id REFERENCES auth_gateway.workspace ON DELETE CASCADE,
        email text NOT NULL,
        role text NOT NULL CHECK (role IN ('owner', 'admin', 'editor', 'commenter', 'viewer')),
        token_hash bytea NOT NULL CONSTRAINT uq_invitation_token_hash UNIQUE,
        invited_by uuid NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        accepted_at timestamptz,
        accepted_by uuid,
        revoked_at timestamptz
    )""",
    "CREATE INDEX ix_invitation_workspace_id ON auth_gateway.invitation (workspace_id, created_at)",
    """CREATE TABLE auth_gateway.revocation (
        entry text PRIMARY KEY,
        expires_at timestamptz NOT NULL,
        written_at timestamptz NOT NULL DEFAULT now()
    )""",
    "CREATE INDEX ix_revocation_written_at ON auth_gateway.revocation (written_at)",
)

# Each answers about exactly one secret or address: what must be known before there is a user.
FUNCTIONS = (
    (
        "credentials(address text)",
        "TABLE (id uuid, password_hash text)",
        "SELECT a.id, a.password_hash FROM auth_gateway.account a WHERE a.email = address",
    ),
    (
        "session_user(session uuid)",
        "uuid",
        "SELECT s.user_id FROM auth_gateway.session s WHERE s.id = session",
    ),
    (
        "email_token_user(hash bytea)",
        "uuid",
        "SELECT t.user_id FROM auth_gateway.email_token t WHERE t.token_hash = hash",
    ),
    (
        "invitation_by_token(hash bytea)",
        "TABLE (id uuid, workspace_id uuid, workspace_name text, email text, role text, invited_by text, "
        "expires_at timestamptz, accepted_at timestamptz, accepted_by uuid, revoked_at timestamptz)",
        "SELECT i.id, i.workspace_id, w.name, i.email, i.role, a.display_name, i.expires_at, i.accepted_at, "
        "i.accepted_by, i.revoked_at FROM auth_gateway.invitation i "
        "JOIN auth_gateway.workspace w ON w.id = i.workspace_id "
        "JOIN auth_gateway.account a ON a.id = i.invited_by WHERE i.token_hash = hash",
    ),
    (  # as the owner of a workspace of one's own that never had a member, or as an open invitation says
        "may_join(workspace uuid, wanted text)",
        "boolean",
        "SELECT wanted = 'owner' AND EXISTS (SELECT 1 FROM auth_gateway.workspace w "
        "WHERE w.id = workspace AND w.created_by = auth_gateway.app_user() "
        "AND NOT EXISTS (SELECT 1 FROM auth_gateway.member m WHERE m.workspace_id = w.id)) "
        "OR EXISTS (SELECT 1 FROM auth_gateway.invitation i JOIN auth_gateway.account a ON a.email = i.email "
        "WHERE a.id = auth_gateway.app_user() AND i.workspace_id = workspace AND i.role = wanted "
        "AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now())",
    ),
)


def upgrade() -> None:
    install_shared(op, "auth_gateway", EXPIRED)
    for statement in TABLES:
        op.execute(statement)
    for table in ("account", "session", "email_token", "workspace", "member", "invitation"):
        op.execute(f"GRANT SELECT ON auth_gateway.{table} TO auth_gateway_definer")
    define_roots(op, "auth_gateway", "member")
    for signature, returns, body in FUNCTIONS:
        define(op, "auth_gateway", signature, returns, body)
    shares = (
        "EXISTS (SELECT 1 FROM auth_gateway.member m WHERE m.user_id = account.id AND NOT m.removed "
        f"AND m.workspace_id = {MINE})"
    )
    protect(op, "auth_gateway", "account", f"id = {ME} OR {shares}", check=f"id = {ME}")
    narrow("account", "UPDATE", f"id = {ME}")
    narrow("account", "DELETE", f"id = {ME}")
    op.execute("REVOKE SELECT ON auth_gateway.account FROM auth_gateway")
    op.execute(f"GRANT SELECT ({READABLE}) ON auth_gateway.account TO auth_gateway")
    protect(op, "auth_gateway", "session", f"user_id = {ME}")
    protect(op, "auth_gateway", "email_token", f"user_id = {ME}")
    protect(op, "auth_gateway", "workspace", f"id = {MINE}", check=f"id = {MINE} OR created_by = {ME}")
    joins = f"user_id = {ME} AND auth_gateway.may_join(workspace_id, role)"
    protect(
        op,
        "auth_gateway",
        "member",
        f"workspace_id = {MINE} OR user_id = {ME}",
        check=f"workspace_id = {MINE} OR ({joins})",
    )
    narrow("member", "DELETE", f"workspace_id = {MINE}")
    protect(op, "auth_gateway", "invitation", f"workspace_id = {MINE}")


def narrow(table: str, command: str, rule: str) -> None:
    """What the runtime role may read is more than what it may change: a further condition for one command."""
    op.execute(
        f"CREATE POLICY runtime_{command.lower()} ON auth_gateway.{table} AS RESTRICTIVE FOR {command} "
        f"TO auth_gateway USING ({rule})"
    )


def downgrade() -> None:
    for table in ("revocation", "invitation", "member", "workspace", "email_token", "session", "account"):
        op.execute(f"DROP TABLE auth_gateway.{table} CASCADE")
    op.execute("DROP FUNCTION auth_gateway.my_roots()")
    for signature, _, _ in FUNCTIONS:
        name, _, arguments = signature.rstrip(")").partition("(")
        op.execute(f"DROP FUNCTION auth_gateway.{name}({arguments})")
    drop_shared(op, "auth_gateway")
