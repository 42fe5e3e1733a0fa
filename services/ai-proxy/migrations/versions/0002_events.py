"""Events: the worker role, and what is known of memberships, workspaces and users."""

from alembic import op

from common.ddl import drop_bus, drop_projections, install_access_projection, install_bus, install_projections

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    install_bus(op, "ai_proxy")
    install_access_projection(op, "ai_proxy")
    install_projections(op, "ai_proxy")


def downgrade() -> None:
    drop_projections(op, "ai_proxy")
    op.execute("DROP TABLE ai_proxy.access_member")
    op.execute("DROP FUNCTION ai_proxy.my_roots()")
    drop_bus(op, "ai_proxy")
