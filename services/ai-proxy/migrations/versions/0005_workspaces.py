"""Which models a workspace allows: kept as auth-gateway tells it, asked for by `reserve` before anything begins."""

import runpy
from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"

TABLE = """CREATE TABLE ai_proxy.workspace_models (
    workspace_id uuid PRIMARY KEY,
    models text[],
    version bigint NOT NULL
)"""

# What was told of a workspace before its models were told with it says nothing of them: then the owner is asked.
CHECK = """IF place IS NOT NULL THEN
        verdict := (
            SELECT CASE WHEN p_models <@ m.models IS FALSE THEN 'model_not_allowed' ELSE 'ok' END
            FROM ai_proxy.workspace_models m WHERE m.workspace_id = place AND NOT EXISTS (
                SELECT 1 FROM ai_proxy.access_workspace w WHERE w.workspace_id = place AND w.version > m.version));
        IF verdict IS DISTINCT FROM 'ok' THEN
            verdict := coalesce(verdict, 'workspace_unknown'); about := 'workspace'; RETURN NEXT; RETURN;
        END IF;
    END IF;
    """
BEFORE = "IF place IS NOT NULL THEN PERFORM pg_advisory_xact_lock"


def upgrade() -> None:
    op.execute(TABLE)
    op.execute("REVOKE INSERT, UPDATE, DELETE ON ai_proxy.workspace_models FROM ai_proxy")
    op.execute("GRANT SELECT, INSERT, UPDATE ON ai_proxy.workspace_models TO ai_proxy_worker")
    op.execute("GRANT SELECT ON ai_proxy.workspace_models TO ai_proxy_definer")
    _replace_reserve(CHECK)


def downgrade() -> None:
    op.execute("DROP TABLE ai_proxy.workspace_models")
    _replace_reserve("")


def _replace_reserve(check: str) -> None:
    frozen = runpy.run_path(str(Path(__file__).with_name("0004_budgets.py")))
    head, tail = frozen["RESERVE"].split(BEFORE)
    op.execute(
        f"CREATE OR REPLACE FUNCTION ai_proxy.{frozen['RESERVE_SIGNATURE']} RETURNS {frozen['ADMITTED']} "
        f"LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = '' AS $body$ {head}{check}{BEFORE}{tail} $body$"
    )
