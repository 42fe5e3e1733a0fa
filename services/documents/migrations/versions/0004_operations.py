"""Results of devices' operations, so that each happens once; texts that did not get through as they were sent."""

from alembic import op

from common.ddl import protect

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        """CREATE TABLE documents.op_result (
        user_id uuid NOT NULL,
        op_id uuid NOT NULL,
        device_id uuid,
        n bigint NOT NULL,
        request_hash bytea NOT NULL,
        entity_id uuid,
        status text,
        result jsonb,
        payload_hash text,
        payload bytea,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (user_id, op_id)
    )"""
    )
    op.execute("CREATE INDEX ix_op_result_created_at ON documents.op_result (created_at)")
    op.execute(
        "CREATE INDEX ix_op_result_payload ON documents.op_result (user_id, entity_id, payload_hash) "
        "WHERE payload IS NOT NULL"
    )
    protect(op, "documents", "op_result", "user_id = (SELECT documents.app_user())")
    op.execute("REVOKE DELETE ON documents.op_result FROM documents")
    op.execute(
        "CREATE FUNCTION documents.drop_op_results() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' "
        "AS $$ DELETE FROM documents.op_result WHERE created_at < now() - interval '97 days' $$"
    )
    op.execute("REVOKE ALL ON FUNCTION documents.drop_op_results() FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION documents.drop_op_results() TO documents")


def downgrade() -> None:
    op.execute("DROP FUNCTION documents.drop_op_results()")
    op.execute("DROP TABLE documents.op_result")
