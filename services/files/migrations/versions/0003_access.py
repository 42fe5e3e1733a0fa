"""Access: groups, access roots and grants, and the functions that decide by them."""

from alembic import op

from common.access.ddl import drop_access, install_access

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    install_access(op, "files")


def downgrade() -> None:
    drop_access(op, "files")
