"""Events: the worker role, and what is known of workspaces and users."""

from alembic import op

from common.migrations import drop_bus, drop_projections, install_bus, install_projections

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    install_bus(op, "documents")
    install_projections(op, "documents")


def downgrade() -> None:
    drop_projections(op, "documents")
    drop_bus(op, "documents")
