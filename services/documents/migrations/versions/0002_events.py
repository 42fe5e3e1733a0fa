"""Events: the worker role, and what is known of workspaces and users; titles in a reader's order."""

from alembic import op

from common.ddl import drop_bus, drop_projections, install_bus, install_projections

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    install_bus(op, "documents")
    install_projections(op, "documents")
    # People sort "apple" before "Banana", and "Ünï" with the u.
    op.execute('ALTER TABLE documents.document ALTER COLUMN title TYPE text COLLATE "und-x-icu"')


def downgrade() -> None:
    op.execute('ALTER TABLE documents.document ALTER COLUMN title TYPE text COLLATE "default"')
    drop_projections(op, "documents")
    drop_bus(op, "documents")
