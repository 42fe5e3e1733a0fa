"""Files: bytes once per workspace, files read where their documents are, uploads, quotas, context files."""

from alembic import op

from common.ddl import define, protect

revision = "0004"
down_revision = "0003"

TABLES = (
    """CREATE TABLE files.document (
        id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL,
        access_root_id uuid NOT NULL,
        version bigint NOT NULL,
        trashed boolean NOT NULL
    )""",
    """CREATE TABLE files.blob (
        workspace_id uuid NOT NULL,
        sha256 bytea NOT NULL,
        object_key text NOT NULL,
        size bigint NOT NULL,
        media_type text NOT NULL,
        state text NOT NULL,
        problem text,
        width integer,
        height integer,
        pages integer,
        tokens integer,
        thumbnails integer[] NOT NULL DEFAULT '{}',
        attempts integer NOT NULL DEFAULT 0,
        due_at timestamptz,
        unused_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (workspace_id, sha256)
    )""",
    "CREATE INDEX ix_blob_object_key ON files.blob (object_key)",
    "CREATE INDEX ix_blob_due_at ON files.blob (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX ix_blob_unused_at ON files.blob (unused_at) WHERE unused_at IS NOT NULL",
    """CREATE TABLE files.page (
        workspace_id uuid NOT NULL,
        sha256 bytea NOT NULL,
        number integer NOT NULL,
        content text NOT NULL,
        tokens integer NOT NULL,
        PRIMARY KEY (workspace_id, sha256, number),
        CONSTRAINT fk_page_workspace_id_sha256 FOREIGN KEY (workspace_id, sha256)
            REFERENCES files.blob (workspace_id, sha256) ON UPDATE CASCADE ON DELETE CASCADE
    )""",
    """CREATE TABLE files.file (
        id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL,
        sha256 bytea NOT NULL,
        name text NOT NULL,
        loose boolean NOT NULL,
        owner_id uuid NOT NULL,
        version bigint NOT NULL DEFAULT 1,
        orphaned_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT fk_file_workspace_id_sha256 FOREIGN KEY (workspace_id, sha256)
            REFERENCES files.blob (workspace_id, sha256)
    )""",
    "CREATE INDEX ix_file_workspace_id_sha256 ON files.file (workspace_id, sha256)",
    "CREATE INDEX ix_file_workspace_id_created_at_id ON files.file (workspace_id, created_at, id)",
    "CREATE INDEX ix_file_orphaned_at ON files.file (orphaned_at) WHERE orphaned_at IS NOT NULL",
    """CREATE TABLE files.attachment (
        id uuid PRIMARY KEY,
        file_id uuid NOT NULL,
        document_id uuid NOT NULL,
        created_by uuid NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT uq_attachment_file_id_document_id UNIQUE (file_id, document_id),
        CONSTRAINT fk_attachment_file_id FOREIGN KEY (file_id) REFERENCES files.file (id) ON DELETE CASCADE,
        CONSTRAINT fk_attachment_document_id FOREIGN KEY (document_id) REFERENCES files.document (id) ON DELETE CASCADE
    )""",
    "CREATE INDEX ix_attachment_document_id ON files.attachment (document_id)",
    """CREATE TABLE files.upload (
        id uuid PRIMARY KEY,
        file_id uuid NOT NULL,
        workspace_id uuid NOT NULL,
        document_id uuid,
        user_id uuid NOT NULL,
        name text NOT NULL,
        media_type text NOT NULL,
        size bigint NOT NULL,
        sha256 bytea NOT NULL,
        object_key text NOT NULL,
        store_upload text,
        part_size bigint NOT NULL,
        state text NOT NULL,
        problem text,
        lease uuid,
        leased_until timestamptz,
        expires_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )""",
    "CREATE INDEX ix_upload_expires_at ON files.upload (expires_at)",
    "CREATE INDEX ix_upload_object_key ON files.upload (object_key)",
    # Objects nobody needs: a signed upload may still bring one back, so they are removed again when it has expired.
    """CREATE TABLE files.garbage (
        object_key text PRIMARY KEY,
        store_upload text,
        thumbnails integer[] NOT NULL DEFAULT '{}',
        due_at timestamptz NOT NULL
    )""",
    "CREATE INDEX ix_garbage_due_at ON files.garbage (due_at)",
    """CREATE TABLE files.quota (
        workspace_id uuid PRIMARY KEY,
        used bigint NOT NULL DEFAULT 0,
        reserved bigint NOT NULL DEFAULT 0,
        CONSTRAINT ck_quota_amounts CHECK (used >= 0 AND reserved >= 0)
    )""",
    """CREATE TABLE files.context_file (
        id uuid PRIMARY KEY,
        file_id uuid NOT NULL,
        workspace_id uuid NOT NULL,
        document_id uuid,
        user_id uuid,
        created_by uuid NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT fk_context_file_file_id FOREIGN KEY (file_id) REFERENCES files.file (id) ON DELETE CASCADE,
        CONSTRAINT fk_context_file_document_id FOREIGN KEY (document_id)
            REFERENCES files.document (id) ON DELETE CASCADE
    )""",
    "CREATE INDEX ix_context_file_workspace_id ON files.context_file (workspace_id)",
)
MEMBER = "workspace_id = ANY((SELECT files.my_workspaces())::uuid[])"
READABLE = "access_root_id = ANY((SELECT files.my_roots())::uuid[])"
# What belongs to no document any more is left to whoever brought it, until it is collected.
FILE = (
    "(loose AND workspace_id = ANY((SELECT files.my_roots())::uuid[])) "
    "OR EXISTS (SELECT 1 FROM files.attachment a JOIN files.document d ON d.id = a.document_id "
    "WHERE a.file_id = file.id) "
    f"OR (orphaned_at IS NOT NULL AND owner_id = files.app_user() AND {MEMBER})"
)
POLICIES = (
    ("document", READABLE, READABLE),
    ("attachment", "EXISTS (SELECT 1 FROM files.document d WHERE d.id = document_id)", None),
    ("file", FILE, MEMBER),
    (
        "blob",
        "EXISTS (SELECT 1 FROM files.file f WHERE f.workspace_id = blob.workspace_id AND f.sha256 = blob.sha256)",
        MEMBER,
    ),
    (
        "page",
        "EXISTS (SELECT 1 FROM files.file f WHERE f.workspace_id = page.workspace_id AND f.sha256 = page.sha256)",
        None,
    ),
    ("upload", "user_id = files.app_user()", f"user_id = files.app_user() AND {MEMBER}"),
    ("garbage", "false", "true"),
    ("quota", MEMBER, MEMBER),
    (
        "context_file",
        "EXISTS (SELECT 1 FROM files.file f WHERE f.id = file_id) AND coalesce(user_id = files.app_user(), "
        "EXISTS (SELECT 1 FROM files.document d WHERE d.id = document_id) OR (document_id IS NULL "
        "AND workspace_id = ANY((SELECT files.my_roots())::uuid[])))",
        None,
    ),
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    for table, rule, check in POLICIES:
        protect(op, "files", table, rule, check=check)
        op.execute(f"CREATE POLICY worker ON files.{table} TO files_worker USING (true) WITH CHECK (true)")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON files.{table} TO files_worker")
    op.execute("REVOKE INSERT, UPDATE, DELETE ON files.document, files.page FROM files")
    op.execute("REVOKE UPDATE, DELETE ON files.blob FROM files")
    op.execute("GRANT INSERT ON files.outbox TO files_worker")
    # How many there are in all: whoever sees some of them may not remove the others' with the file.
    define(
        op, "files", "attachments_of(file uuid)", "bigint",
        "SELECT count(*) FROM files.attachment a WHERE a.file_id = file",
    )  # fmt: skip


def downgrade() -> None:
    op.execute("REVOKE INSERT ON files.outbox FROM files_worker")
    op.execute("DROP FUNCTION files.attachments_of(uuid)")
    for table in ("context_file", "quota", "garbage", "upload", "attachment", "file", "page", "blob", "document"):
        op.execute(f"DROP TABLE files.{table} CASCADE")
