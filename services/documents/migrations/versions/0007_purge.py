"""Permanent deletion: ids never used again, bodies that may be garbage, what has lain in the trash too long."""

from alembic import op

revision = "0007"
down_revision = "0006"

PURGED = "\n        OR EXISTS (SELECT 1 FROM documents.purged p WHERE p.id = node)"
CLAIM_ID = f"""BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('id:' || node::text, 0));
    IF EXISTS (SELECT 1 FROM documents.folder f WHERE f.id = node AND meant = 'document')
        OR EXISTS (SELECT 1 FROM documents.document d WHERE d.id = node AND meant = 'folder'){PURGED}
        OR EXISTS (SELECT 1 FROM documents.access_workspace w WHERE w.workspace_id = node)
        OR EXISTS (SELECT 1 FROM documents.access_user u WHERE u.user_id = node)
        OR EXISTS (SELECT 1 FROM documents.access_group g WHERE g.group_id = node)
        OR EXISTS (SELECT 1 FROM documents.access_request r WHERE r.id = node)
    THEN
        RAISE unique_violation USING MESSAGE = 'the id is taken', CONSTRAINT = 'id_taken';
    END IF;
    RETURN true;
END"""
# A large text that comes again is kept; while its object is being removed it cannot be (`service/caretaker.py`).
WANTED_AGAIN = """CREATE FUNCTION documents.wanted_again() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = '' AS $$ BEGIN
    DELETE FROM documents.garbage g
    WHERE g.workspace_id = NEW.workspace_id AND g.sha256 = NEW.sha256 AND NOT g.taken;
    IF EXISTS (SELECT 1 FROM documents.garbage g WHERE g.workspace_id = NEW.workspace_id AND g.sha256 = NEW.sha256) THEN
        RAISE lock_not_available USING MESSAGE = 'the body is being removed';
    END IF;
    RETURN NEW;
END $$"""
WORKER = (
    ("document", "DELETE"),
    ("body", "DELETE"),
    ("folder", "SELECT, DELETE"),
    ("purged", "SELECT, INSERT"),
    ("garbage", "SELECT, INSERT, UPDATE, DELETE"),
    ("access_request", "SELECT, DELETE"),
)


def upgrade() -> None:
    op.execute("CREATE TABLE documents.purged (id uuid PRIMARY KEY, purged_at timestamptz NOT NULL DEFAULT now())")
    op.execute(
        """CREATE TABLE documents.garbage (
        workspace_id uuid NOT NULL,
        sha256 text NOT NULL,
        taken boolean NOT NULL DEFAULT false,
        PRIMARY KEY (workspace_id, sha256)
    )"""
    )
    op.execute("REVOKE ALL ON documents.purged, documents.garbage FROM documents")
    op.execute("GRANT INSERT ON documents.purged, documents.garbage TO documents")
    op.execute("GRANT SELECT ON documents.purged TO documents_definer")
    op.execute("GRANT SELECT, DELETE ON documents.garbage TO documents_definer")
    for table, rights in WORKER:
        op.execute(f"GRANT {rights} ON documents.{table} TO documents_worker")
    op.execute("CREATE POLICY worker ON documents.folder TO documents_worker USING (true)")
    for table in ("document", "folder"):  # whatever goes wrong: nothing but what is in the trash
        op.execute(
            f"CREATE POLICY trashed ON documents.{table} AS RESTRICTIVE FOR DELETE TO documents_worker "
            "USING (trashed_at IS NOT NULL)"
        )
    op.execute("CREATE INDEX ix_document_trashed_at ON documents.document (trashed_at) WHERE trashed_at IS NOT NULL")
    op.execute("CREATE INDEX ix_folder_trashed_at ON documents.folder (trashed_at) WHERE trashed_at IS NOT NULL")
    op.execute("CREATE INDEX ix_garbage_taken ON documents.garbage (taken)")
    _replace_claim_id(CLAIM_ID)
    op.execute(WANTED_AGAIN)
    op.execute("ALTER FUNCTION documents.wanted_again() OWNER TO documents_definer")
    op.execute(
        "CREATE TRIGGER wanted_again BEFORE INSERT ON documents.body FOR EACH ROW WHEN (NEW.data IS NULL) "
        "EXECUTE FUNCTION documents.wanted_again()"
    )
    op.execute("REVOKE ALL ON FUNCTION documents.wanted_again() FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP TRIGGER wanted_again ON documents.body")
    _replace_claim_id(CLAIM_ID.replace(PURGED, ""))
    op.execute("DROP FUNCTION documents.wanted_again()")
    op.execute("DROP INDEX documents.ix_document_trashed_at, documents.ix_folder_trashed_at")
    op.execute("DROP POLICY worker ON documents.folder")
    for table in ("document", "folder"):
        op.execute(f"DROP POLICY trashed ON documents.{table}")
    for table, rights in WORKER:
        op.execute(f"REVOKE {rights} ON documents.{table} FROM documents_worker")
    op.execute("DROP TABLE documents.garbage, documents.purged")


def _replace_claim_id(body: str) -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION documents.claim_id(node uuid, meant text) RETURNS boolean LANGUAGE plpgsql "
        f"VOLATILE SECURITY DEFINER SET search_path = '' AS $body$ {body} $body$"
    )
