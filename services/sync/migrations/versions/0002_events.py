"""Events: the worker role, and what is known of memberships, workspaces and users."""

from alembic import op

from common.ddl import drop_bus, drop_projections, install_access_projection, install_bus, install_projections

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    install_bus(op, "sync")
    install_access_projection(op, "sync")
    install_projections(op, "sync")


def downgrade() -> None:
    drop_projections(op, "sync")
    op.execute("DROP TABLE sync.access_member")
    op.execute("DROP FUNCTION sync.my_roots()")
    drop_bus(op, "sync")
