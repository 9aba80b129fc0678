"""what the check of a job's rows has found"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0039"
down_revision = "0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("data_check", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "data_check")
