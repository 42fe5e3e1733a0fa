"""Ids that mean one thing only; where something comes back to, whoever may see that place."""

from alembic import op

from common.ddl import define

revision = "0005"
down_revision = "0004"

# An id that is a folder's and a document's, or a workspace's, would be one access root for both; that of a user or a
# group one stream of events. Locked, so that of two at once the second sees the first.
CLAIM_ID = """BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('id:' || node::text, 0));
    IF EXISTS (SELECT 1 FROM documents.folder f WHERE f.id = node AND meant = 'document')
        OR EXISTS (SELECT 1 FROM documents.document d WHERE d.id = node AND meant = 'folder')
        OR EXISTS (SELECT 1 FROM documents.access_workspace w WHERE w.workspace_id = node)
        OR EXISTS (SELECT 1 FROM documents.access_user u WHERE u.user_id = node)
        OR EXISTS (SELECT 1 FROM documents.access_group g WHERE g.group_id = node)
        OR EXISTS (SELECT 1 FROM documents.access_request r WHERE r.id = node)
    THEN
        RAISE unique_violation USING MESSAGE = 'the id is taken', CONSTRAINT = 'id_taken';
    END IF;
    RETURN true;
END"""
LIVING_ABOVE = """WITH RECURSIVE line (id, parent_id, access_root_id, trashed_at, depth) AS (
    SELECT f.id, f.parent_id, f.access_root_id, f.trashed_at, 1 FROM documents.folder f WHERE f.id = folder
    UNION ALL
    SELECT f.id, f.parent_id, f.access_root_id, f.trashed_at, line.depth + 1
    FROM line JOIN documents.folder f ON f.id = line.parent_id)
    SELECT id, access_root_id FROM line WHERE trashed_at IS NULL ORDER BY depth LIMIT 1"""


def upgrade() -> None:
    for table in ("access_user", "access_request"):
        op.execute(f"GRANT SELECT ON documents.{table} TO documents_definer")
    define(op, "documents", "claim_id(node uuid, meant text)", "boolean", CLAIM_ID, language="plpgsql", writes=True)
    define(op, "documents", "living_above(folder uuid)", "TABLE (id uuid, access_root_id uuid)", LIVING_ABOVE)


def downgrade() -> None:
    op.execute("DROP FUNCTION documents.claim_id(uuid, text), documents.living_above(uuid)")
    for table in ("access_user", "access_request"):
        op.execute(f"REVOKE SELECT ON documents.{table} FROM documents_definer")
