"""Events: the relay's own role."""

from alembic import op

from common.ddl import drop_bus, install_bus

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    install_bus(op, "auth_gateway")


def downgrade() -> None:
    drop_bus(op, "auth_gateway")
