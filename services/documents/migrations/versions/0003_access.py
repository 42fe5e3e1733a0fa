"""Access roots, grants and groups; folders, and where documents lie in them; requests for access."""

from alembic import op

from common.access.ddl import drop_access, install_access, install_revocations
from common.ddl import define, protect

revision = "0003"
down_revision = "0002"

# Hashed, and no condition of an index: `= ANY` made each of 5,000 index probes look through 5,000 roots (measured).
MY_ROOT = "access_root_id IN (SELECT unnest((SELECT documents.my_roots())))"
MY_WORKSPACE = "workspace_id = ANY((SELECT documents.my_workspaces())::uuid[])"
BEFORE = (
    "DROP FUNCTION documents.detach_folders(uuid[], uuid[]), documents.detach_documents(uuid[], uuid[])",
    "DROP POLICY detach ON documents.document",
    "REVOKE UPDATE (folder_id, version, field_versions) ON documents.document FROM documents_definer",
    "DROP TABLE documents.access_request",
    "DROP INDEX documents.ix_document_updated, documents.ix_document_created, documents.ix_document_title, "
    "documents.ix_document_position, documents.ix_document_trashed, documents.ix_document_trashed_with, "
    "documents.ix_document_folder_id",
    "ALTER TABLE documents.document DROP COLUMN folder_id, DROP COLUMN position, DROP COLUMN trashed_with",
    "CREATE INDEX ix_document_updated ON documents.document (workspace_id, updated_at DESC, id DESC) "
    "WHERE trashed_at IS NULL",
    "CREATE INDEX ix_document_created ON documents.document (workspace_id, created_at DESC, id DESC) "
    "WHERE trashed_at IS NULL",
    "CREATE INDEX ix_document_title ON documents.document (workspace_id, title, id) WHERE trashed_at IS NULL",
    "CREATE INDEX ix_document_trashed ON documents.document (workspace_id, updated_at DESC, id DESC) "
    "WHERE trashed_at IS NOT NULL",
    "CREATE INDEX ix_document_access_root_id ON documents.document (access_root_id)",
    "ALTER POLICY runtime ON documents.version WITH CHECK (workspace_id = ANY((SELECT documents.my_roots())::uuid[]))",
    "ALTER POLICY runtime ON documents.body WITH CHECK (workspace_id = ANY((SELECT documents.my_roots())::uuid[]))",
    "DROP FUNCTION documents.lineage(uuid), documents.roots_in(uuid[]), documents.held(uuid), "
    "documents.place_of(uuid, text), "
    "documents.drop_revocations()",
    "REVOKE INSERT ON documents.outbox FROM documents_worker",
    "ALTER POLICY runtime ON documents.document USING (access_root_id = ANY((SELECT documents.my_roots())::uuid[])) "
    "WITH CHECK (access_root_id = ANY((SELECT documents.my_roots())::uuid[]))",
    "DROP TABLE documents.folder, documents.revocation",
)
# What must be seen whole, whoever acts: where a folder lies, which roots lie in folders, what an owner may take.
FUNCTIONS = (
    (
        "lineage(folder uuid)",
        "uuid[]",
        "WITH RECURSIVE line (id, parent_id, depth) AS ("
        "SELECT f.id, f.parent_id, 1 FROM documents.folder f WHERE f.id = folder UNION ALL "
        "SELECT f.id, f.parent_id, line.depth + 1 FROM line JOIN documents.folder f ON f.id = line.parent_id) "
        "SELECT coalesce(array_agg(id ORDER BY depth), '{}') FROM line",
    ),
    (
        "roots_in(folders uuid[])",
        "uuid[]",
        "SELECT coalesce(array_agg(id), '{}') FROM ("
        "SELECT f.id FROM documents.folder f WHERE f.parent_id = ANY(folders) AND f.access_root_id = f.id UNION ALL "
        "SELECT d.id FROM documents.document d WHERE d.folder_id = ANY(folders) AND d.access_root_id = d.id) AS below",
    ),
    (  # to keep a request by somebody who may not know whether there is anything
        "place_of(node uuid, wanted text)",
        "TABLE (workspace_id uuid)",
        "SELECT d.workspace_id FROM documents.document d WHERE d.id = node AND wanted = 'document' UNION ALL "
        "SELECT f.workspace_id FROM documents.folder f WHERE f.id = node AND wanted = 'folder'",
    ),
    (
        "held(node uuid)",
        "TABLE (id uuid, kind text, workspace_id uuid, access_root_id uuid, version bigint)",
        "SELECT n.* FROM (SELECT d.id, 'document', d.workspace_id, d.access_root_id, d.version "
        "FROM documents.document d WHERE d.id = node UNION ALL "
        "SELECT f.id, 'folder', f.workspace_id, f.access_root_id, f.version FROM documents.folder f "
        "WHERE f.id = node) AS n (id, kind, workspace_id, access_root_id, version) "
        "JOIN documents.access_member m ON m.workspace_id = n.workspace_id AND m.role = 'owner' AND NOT m.removed "
        "AND m.user_id = nullif(current_setting('app.user_id', true), '')::uuid AND NOT EXISTS ("
        "SELECT 1 FROM documents.access_workspace w WHERE w.workspace_id = m.workspace_id AND w.removed)",
    ),
)
# What lies in folders that go to another workspace, and stays because whoever moves them does not see it.
DETACHING = (("folder", "parent_id"), ("document", "folder_id"))

TABLES = (
    """CREATE TABLE documents.folder (
        id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL,
        access_root_id uuid NOT NULL,
        parent_id uuid CONSTRAINT fk_folder_parent_id REFERENCES documents.folder (id),
        name text COLLATE "und-x-icu" NOT NULL,
        position text COLLATE "C" NOT NULL,
        version bigint NOT NULL,
        field_versions jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by uuid NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now(),
        updated_by uuid NOT NULL,
        trashed_at timestamptz,
        trashed_by uuid,
        trashed_with uuid
    ) WITH (fillfactor = 85)""",
    "CREATE INDEX ix_folder_parent_id ON documents.folder (parent_id, position, id)",
    "CREATE INDEX ix_folder_workspace_id ON documents.folder (workspace_id, position, id)",
    "CREATE INDEX ix_folder_access_root_id ON documents.folder (access_root_id)",
    """ALTER TABLE documents.document
        ADD COLUMN folder_id uuid CONSTRAINT fk_document_folder_id REFERENCES documents.folder (id),
        ADD COLUMN position text COLLATE "C" NOT NULL DEFAULT 'a0',
        ADD COLUMN trashed_with uuid""",
    "CREATE INDEX ix_document_folder_id ON documents.document (folder_id, position, id)",
    # Lists ask each access root for its first rows: whoever sees little of a workspace reads little of it.
    "DROP INDEX documents.ix_document_updated, documents.ix_document_created, documents.ix_document_title, "
    "documents.ix_document_trashed, documents.ix_document_access_root_id",
    "CREATE INDEX ix_document_updated ON documents.document (access_root_id, updated_at DESC, id DESC) "
    "WHERE trashed_at IS NULL",
    "CREATE INDEX ix_document_created ON documents.document (access_root_id, created_at DESC, id DESC) "
    "WHERE trashed_at IS NULL",
    "CREATE INDEX ix_document_title ON documents.document (access_root_id, title, id) WHERE trashed_at IS NULL",
    "CREATE INDEX ix_document_position ON documents.document (access_root_id, position, id) "
    "WHERE trashed_at IS NULL AND folder_id IS NULL",
    "CREATE INDEX ix_document_trashed ON documents.document (access_root_id, updated_at DESC, id DESC) "
    "WHERE trashed_at IS NOT NULL",
    "CREATE INDEX ix_document_trashed_with ON documents.document (trashed_with) WHERE trashed_with IS NOT NULL",
    """CREATE TABLE documents.access_request (
        id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL,
        node_id uuid NOT NULL,
        user_id uuid NOT NULL,
        role text NOT NULL,
        message text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        decided_at timestamptz,
        decided_by uuid,
        approved boolean
    )""",
    "CREATE UNIQUE INDEX uq_access_request_open ON documents.access_request (node_id, user_id) "
    "WHERE decided_at IS NULL",
)


def upgrade() -> None:
    install_access(op, "documents")
    install_revocations(op, "documents")
    # Who leaves a workspace loses their grants: by event, hence as the worker.
    op.execute("GRANT SELECT, INSERT ON documents.revocation TO documents_worker")
    op.execute("GRANT INSERT ON documents.outbox TO documents_worker")
    # The owner of roots and grants writes them in its requests, not by events.
    op.execute("GRANT INSERT, UPDATE ON documents.access_root TO documents")
    op.execute("GRANT INSERT, UPDATE, DELETE ON documents.access_grant TO documents")
    for statement in TABLES:
        op.execute(statement)
    protect(op, "documents", "folder", MY_ROOT)
    for signature, returns, body in FUNCTIONS:
        define(op, "documents", signature, returns, body)
    for table, column in DETACHING:
        op.execute(f"CREATE POLICY detach ON documents.{table} FOR UPDATE TO documents_definer USING (true)")
        op.execute(f"GRANT UPDATE ({column}, version, field_versions) ON documents.{table} TO documents_definer")
        define(
            op, "documents", f"detach_{table}s(folders uuid[], moving uuid[])", f"SETOF documents.{table}",
            f"UPDATE documents.{table} AS n SET {column} = NULL, version = n.version + 1, "
            "field_versions = n.field_versions || jsonb_build_object('place', n.version + 1) "
            f"WHERE n.{column} = ANY(folders) AND n.id <> ALL(moving) RETURNING n.*",
            writes=True,
        )  # fmt: skip
    op.execute(f"ALTER POLICY runtime ON documents.document USING ({MY_ROOT}) WITH CHECK ({MY_ROOT})")
    for table in ("version", "body"):  # a guest may write in a workspace whose own root is not theirs
        op.execute(f"ALTER POLICY runtime ON documents.{table} WITH CHECK ({MY_WORKSPACE})")


def downgrade() -> None:
    for statement in BEFORE:
        op.execute(statement)
    drop_access(op, "documents")
