"""Bytes say themselves since when no file has them, and are held while a file is made of them."""

from alembic import op

from common.ddl import define

revision = "0005"
down_revision = "0004"

BYTES = "b.workspace_id = workspace AND b.sha256 = hash"
# The row is locked before anybody looks for files: of two that drop or make the last one at once, the second decides.
MARK = f"""BEGIN
    PERFORM FROM files.blob b WHERE {BYTES} FOR NO KEY UPDATE;
    UPDATE files.blob b SET unused_at = CASE WHEN b.unused_at IS NULL THEN now() END
    WHERE {BYTES} AND (b.unused_at IS NULL) = NOT EXISTS (
        SELECT FROM files.file f WHERE f.workspace_id = workspace AND f.sha256 = hash);
END"""
FOLLOW = """BEGIN
    IF TG_OP <> 'INSERT' THEN PERFORM files.mark_bytes(OLD.workspace_id, OLD.sha256); END IF;
    IF TG_OP <> 'DELETE' THEN PERFORM files.mark_bytes(NEW.workspace_id, NEW.sha256); END IF;
    RETURN NULL;
END"""


def upgrade() -> None:
    op.execute("GRANT UPDATE (unused_at) ON files.blob TO files_definer")
    op.execute("CREATE POLICY definer_marks ON files.blob FOR UPDATE TO files_definer USING (true) WITH CHECK (true)")
    define(
        op, "files", "hold_bytes(workspace uuid, hash bytea)", "boolean",
        f"BEGIN PERFORM FROM files.blob b WHERE {BYTES} FOR KEY SHARE; RETURN found; END",
        language="plpgsql", writes=True,
    )  # fmt: skip
    define(op, "files", "mark_bytes(workspace uuid, hash bytea)", "void", MARK, language="plpgsql", writes=True)
    op.execute("REVOKE ALL ON FUNCTION files.mark_bytes(uuid, bytea) FROM files")
    define(op, "files", "follow_files()", "trigger", FOLLOW, language="plpgsql", writes=True)
    op.execute("GRANT EXECUTE ON FUNCTION files.follow_files() TO files_owner")
    op.execute(
        "CREATE TRIGGER follow_files AFTER INSERT OR DELETE OR UPDATE OF workspace_id, sha256 ON files.file "
        "FOR EACH ROW EXECUTE FUNCTION files.follow_files()"
    )
    op.execute(
        "UPDATE files.blob b SET unused_at = CASE WHEN b.unused_at IS NULL THEN now() END WHERE "
        "(b.unused_at IS NULL) = NOT EXISTS (SELECT FROM files.file f WHERE f.workspace_id = b.workspace_id "
        "AND f.sha256 = b.sha256)"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER follow_files ON files.file")
    for function in ("follow_files()", "mark_bytes(uuid, bytea)", "hold_bytes(uuid, bytea)"):
        op.execute(f"DROP FUNCTION files.{function}")
    op.execute("DROP POLICY definer_marks ON files.blob")
    op.execute("REVOKE UPDATE (unused_at) ON files.blob FROM files_definer")
