"""Live documents: their log of updates and their states, which only the worker reads and writes."""

from alembic import op

from common.ddl import protect

revision = "0004"
down_revision = "0003"

TABLES = (
    """CREATE TABLE collab.document (
        id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL,
        access_root_id uuid NOT NULL,
        kind text NOT NULL,
        version bigint NOT NULL,
        trashed boolean NOT NULL,
        newest_content bigint NOT NULL,
        lineage integer NOT NULL DEFAULT 1,
        schema_version integer NOT NULL,
        seed_client bigint NOT NULL,
        retired_seeds bigint[] NOT NULL DEFAULT '{}',
        head_seq bigint NOT NULL DEFAULT 0,
        snapshot_seq bigint NOT NULL DEFAULT 0,
        content_version bigint NOT NULL,
        exported_seq bigint NOT NULL DEFAULT 0,
        mark_state bytea,
        verbatim boolean NOT NULL DEFAULT false,
        lease uuid,
        leased_until timestamptz,
        changed_at timestamptz NOT NULL DEFAULT now()
    ) WITH (fillfactor = 70)""",
    "CREATE INDEX ix_document_workspace_id ON collab.document (workspace_id)",
    "CREATE INDEX ix_document_unexported ON collab.document (changed_at) WHERE head_seq > exported_seq",
    """CREATE TABLE collab.update_log (
        document_id uuid NOT NULL,
        lineage integer NOT NULL,
        seq bigint NOT NULL,
        payload bytea NOT NULL,
        actors uuid[] NOT NULL,
        origin text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (document_id, lineage, seq),
        CONSTRAINT fk_update_log_document_id FOREIGN KEY (document_id) REFERENCES collab.document (id) ON DELETE CASCADE
    )""",
    """CREATE TABLE collab.state (
        document_id uuid NOT NULL,
        lineage integer NOT NULL,
        seq bigint NOT NULL,
        state bytea NOT NULL,
        sha256 bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (document_id, lineage, seq),
        CONSTRAINT fk_state_document_id FOREIGN KEY (document_id) REFERENCES collab.document (id) ON DELETE CASCADE
    )""",
    "ALTER TABLE collab.update_log ALTER COLUMN payload SET STORAGE EXTERNAL",
    "ALTER TABLE collab.state ALTER COLUMN state SET STORAGE EXTERNAL",
)

FORGET = """CREATE FUNCTION collab.forget_updates(days integer) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = '' AS $$
    BEGIN
      DELETE FROM collab.update_log u USING collab.document d WHERE d.id = u.document_id AND NOT d.verbatim
        AND (u.lineage < d.lineage OR u.seq <= d.snapshot_seq) AND u.created_at < now() - make_interval(days => days);
      DELETE FROM collab.state s USING collab.document d WHERE d.id = s.document_id AND NOT d.verbatim
        AND (s.lineage < d.lineage OR s.seq < d.snapshot_seq) AND s.created_at < now() - make_interval(days => days);
    END $$"""


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    protect(op, "collab", "document", "access_root_id = ANY((SELECT collab.my_roots())::uuid[])")
    op.execute("CREATE POLICY worker ON collab.document TO collab_worker USING (true) WITH CHECK (true)")
    op.execute("REVOKE ALL ON collab.document, collab.update_log, collab.state FROM collab")
    op.execute("GRANT SELECT ON collab.document TO collab")
    op.execute(FORGET)
    op.execute("REVOKE ALL ON FUNCTION collab.forget_updates(integer) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION collab.forget_updates(integer) TO collab")
    op.execute("GRANT SELECT, INSERT, UPDATE ON collab.document, collab.update_log, collab.state TO collab_worker")
    op.execute("GRANT DELETE ON collab.document TO collab_worker")


def downgrade() -> None:
    op.execute("DROP FUNCTION collab.forget_updates(integer)")
    op.execute("DROP TABLE collab.state")
    op.execute("DROP TABLE collab.update_log")
    op.execute("DROP TABLE collab.document")
