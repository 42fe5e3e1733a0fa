"""Documents, versions, bodies; shared tables; row-level security by access roots."""

from alembic import op

from common.ddl import define, drop_shared, install_access_projection, install_shared, protect

revision = "0001"
down_revision = None

MY_ROOT = "access_root_id = ANY((SELECT documents.my_roots())::uuid[])"
MY_WORKSPACE = "workspace_id = ANY((SELECT documents.my_roots())::uuid[])"

TABLES = (
    """CREATE TABLE documents.body (
        workspace_id uuid NOT NULL,
        sha256 text NOT NULL,
        size integer NOT NULL,
        data bytea,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (workspace_id, sha256)
    )""",
    "ALTER TABLE documents.body ALTER data SET STORAGE EXTERNAL",
    """CREATE TABLE documents.document (
        id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL,
        access_root_id uuid NOT NULL,
        title text NOT NULL,
        language text,
        kind text NOT NULL,
        version bigint NOT NULL,
        content_version bigint NOT NULL,
        body_sha256 text NOT NULL,
        size integer NOT NULL,
        field_versions jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by uuid NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now(),
        updated_by uuid NOT NULL,
        trashed_at timestamptz,
        trashed_by uuid,
        CONSTRAINT fk_document_workspace_id_body_sha256 FOREIGN KEY (workspace_id, body_sha256)
            REFERENCES documents.body (workspace_id, sha256)
    ) WITH (fillfactor = 85)""",
    "CREATE INDEX ix_document_updated ON documents.document (workspace_id, updated_at DESC, id DESC) "
    "WHERE trashed_at IS NULL",
    "CREATE INDEX ix_document_created ON documents.document (workspace_id, created_at DESC, id DESC) "
    "WHERE trashed_at IS NULL",
    "CREATE INDEX ix_document_title ON documents.document (workspace_id, title, id) WHERE trashed_at IS NULL",
    "CREATE INDEX ix_document_trashed ON documents.document (workspace_id, updated_at DESC, id DESC) "
    "WHERE trashed_at IS NOT NULL",
    "CREATE INDEX ix_document_access_root_id ON documents.document (access_root_id)",
    """CREATE TABLE documents.version (
        document_id uuid NOT NULL,
        n bigint NOT NULL,
        workspace_id uuid NOT NULL,
        body_sha256 text NOT NULL,
        size integer NOT NULL,
        title text NOT NULL,
        author_id uuid NOT NULL,
        contributors uuid[] NOT NULL,
        origin text NOT NULL,
        base_version bigint,
        merged boolean NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (document_id, n),
        CONSTRAINT fk_version_document_id FOREIGN KEY (document_id)
            REFERENCES documents.document (id) ON DELETE CASCADE,
        CONSTRAINT fk_version_workspace_id_body_sha256 FOREIGN KEY (workspace_id, body_sha256)
            REFERENCES documents.body (workspace_id, sha256)
    )""",
    "CREATE INDEX ix_version_body ON documents.version (workspace_id, body_sha256)",
)


def upgrade() -> None:
    install_shared(op, "documents")
    install_access_projection(op, "documents")
    for statement in TABLES:
        op.execute(statement)
    protect(op, "documents", "document", MY_ROOT)
    # Scalar subqueries: EXISTS may be planned as a hash over every visible document (measured).
    protect(
        op,
        "documents",
        "version",
        "(SELECT true FROM documents.document d WHERE d.id = document_id)",
        check=MY_WORKSPACE,
    )
    protect(
        op,
        "documents",
        "body",
        "(SELECT true FROM documents.version v WHERE v.workspace_id = body.workspace_id "
        "AND v.body_sha256 = body.sha256 LIMIT 1)",
        check=MY_WORKSPACE,
    )
    # Only to learn which workspace to ask about when the membership projection has no row yet.
    define(
        op,
        "documents",
        "workspace_of(document uuid)",
        "uuid",
        "SELECT d.workspace_id FROM documents.document d WHERE d.id = document",
    )


def downgrade() -> None:
    op.execute("DROP TABLE documents.version, documents.document, documents.body")
    op.execute("DROP FUNCTION documents.workspace_of(uuid), documents.my_roots()")
    op.execute("DROP TABLE documents.access_member")
    drop_shared(op, "documents")
