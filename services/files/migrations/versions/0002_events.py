"""Events: the worker role, and what is known of memberships, workspaces and users."""

from alembic import op

from common.ddl import drop_bus, drop_projections, install_access_projection, install_bus, install_projections

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    install_bus(op, "files")
    install_access_projection(op, "files")
    install_projections(op, "files")


def downgrade() -> None:
    drop_projections(op, "files")
    op.execute("DROP TABLE files.access_member")
    op.execute("DROP FUNCTION files.my_roots()")
    drop_bus(op, "files")
