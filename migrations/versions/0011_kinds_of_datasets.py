"""what kind of rows a checked dataset holds"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Null is taken for chat: what was checked before, or is by a process of the version before
    op.add_column("files", sa.Column("kind", sa.String(), nullable=True))
    op.create_check_constraint("kind", "files", "kind IN ('chat', 'preference', 'labelled')")


def downgrade() -> None:
    op.drop_column("files", "kind")
