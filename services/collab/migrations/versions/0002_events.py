"""Events: the worker role, and what is known of memberships, workspaces and users."""

from alembic import op

from common.ddl import drop_bus, drop_projections, install_access_projection, install_bus, install_projections

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    install_bus(op, "collab")
    install_access_projection(op, "collab")
    install_projections(op, "collab")


def downgrade() -> None:
    drop_projections(op, "collab")
    op.execute("DROP TABLE collab.access_member")
    op.execute("DROP FUNCTION collab.my_roots()")
    drop_bus(op, "collab")
