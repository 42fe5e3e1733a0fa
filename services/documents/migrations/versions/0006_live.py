"""Live rooms: their exports, each known by (document, lineage, seq), and holds; the content version before another."""

from alembic import op

revision = "0006"
down_revision = "0005"

# An export is made by a service whose users' rights were checked before: by the worker role, which sees every row.
EXPORTED = "version, content_version, previous_content_version, body_sha256, size, updated_at, updated_by, held_until"
WORKER = (
    ("document", f"SELECT, UPDATE ({EXPORTED})"),
    ("version", "SELECT, INSERT"),
    ("body", "SELECT, INSERT"),
)


def upgrade() -> None:
    op.execute(
        "ALTER TABLE documents.document ADD COLUMN previous_content_version bigint, ADD COLUMN held_until timestamptz"
    )
    op.execute("ALTER TABLE documents.version ADD COLUMN lineage bigint, ADD COLUMN seq bigint")
    op.execute(
        """CREATE TABLE documents.live_export (
        document_id uuid NOT NULL,
        lineage bigint NOT NULL,
        seq bigint NOT NULL,
        content_hash text NOT NULL,
        version bigint NOT NULL,
        content_version bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (document_id, lineage, seq),
        CONSTRAINT fk_live_export_document_id FOREIGN KEY (document_id)
            REFERENCES documents.document (id) ON DELETE CASCADE
    )"""
    )
    op.execute("CREATE INDEX ix_live_export_created_at ON documents.live_export (created_at)")
    op.execute("REVOKE ALL ON documents.live_export FROM documents")
    op.execute("GRANT SELECT, INSERT ON documents.live_export TO documents_worker")
    for table, rights in WORKER:
        op.execute(f"CREATE POLICY worker ON documents.{table} TO documents_worker USING (true) WITH CHECK (true)")
        op.execute(f"GRANT {rights} ON documents.{table} TO documents_worker")
    op.execute(
        "CREATE FUNCTION documents.drop_live_exports() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' "
        "AS $$ DELETE FROM documents.live_export WHERE created_at < now() - interval '14 days' $$"
    )
    op.execute("REVOKE ALL ON FUNCTION documents.drop_live_exports() FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION documents.drop_live_exports() TO documents")


def downgrade() -> None:
    op.execute("DROP FUNCTION documents.drop_live_exports()")
    op.execute("DROP TABLE documents.live_export")
    for table, rights in WORKER:
        op.execute(f"REVOKE {rights} ON documents.{table} FROM documents_worker")
        op.execute(f"DROP POLICY worker ON documents.{table}")
    op.execute("ALTER TABLE documents.version DROP COLUMN lineage, DROP COLUMN seq")
    op.execute("ALTER TABLE documents.document DROP COLUMN previous_content_version, DROP COLUMN held_until")
