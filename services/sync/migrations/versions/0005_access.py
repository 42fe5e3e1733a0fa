"""Access: groups, access roots and grants, and the functions that decide by them; logs of roots for administrators."""

from alembic import op

from common.access.ddl import drop_access, install_access

revision = "0005"
down_revision = "0004"


ADMINISTERED = """CREATE OR REPLACE FUNCTION sync.my_administered_roots() RETURNS uuid[] LANGUAGE plpgsql STABLE
    SECURITY DEFINER SET search_path = '' AS $body$
    BEGIN RETURN coalesce((
      WITH mine AS (SELECT m.workspace_id FROM sync.access_member m
        WHERE m.user_id = nullif(current_setting('app.user_id', true), '')::uuid AND NOT m.removed
        AND m.role IN ('owner', 'admin') AND NOT EXISTS (
          SELECT 1 FROM sync.access_workspace w WHERE w.workspace_id = m.workspace_id AND w.removed))
      SELECT array_agg(id) FROM (
        SELECT workspace_id FROM mine
        UNION ALL SELECT r.root_id FROM sync.access_root r JOIN mine ON mine.workspace_id = r.workspace_id
      ) AS all_roots (id)), '{}');
    END $body$"""
BEFORE = """CREATE OR REPLACE FUNCTION sync.my_administered_roots() RETURNS uuid[] LANGUAGE plpgsql STABLE
    SECURITY DEFINER SET search_path = '' AS $body$
    BEGIN RETURN coalesce((SELECT array_agg(m.workspace_id) FROM sync.access_member m
      WHERE m.user_id = nullif(current_setting('app.user_id', true), '')::uuid AND NOT m.removed
      AND m.role IN ('owner', 'admin')), '{}'); END $body$"""


def upgrade() -> None:
    install_access(op, "sync")
    op.execute(ADMINISTERED)


def downgrade() -> None:
    drop_access(op, "sync")
    op.execute(BEFORE)
