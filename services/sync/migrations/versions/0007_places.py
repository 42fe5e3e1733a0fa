"""What has rules of its own is found by the folder it lies in."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("CREATE INDEX ix_item_own_rules ON sync.item (parent_id) WHERE scope_id = id AND NOT gone")


def downgrade() -> None:
    op.execute("DROP INDEX sync.ix_item_own_rules")
