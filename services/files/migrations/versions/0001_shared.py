"""Shared tables: outbox, inbox, idempotency, partition functions."""

from alembic import op

from common.ddl import drop_shared, install_shared

revision = "0001"
down_revision = None


def upgrade() -> None:
    install_shared(op, "files")


def downgrade() -> None:
    drop_shared(op, "files")
