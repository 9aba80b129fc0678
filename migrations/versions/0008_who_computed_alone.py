"""runs: which one was claimed to compute alone, and whose they are"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("alone", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("ix_runs_owner", "runs", ["owner"])


def downgrade() -> None:
    op.drop_index("ix_runs_owner", table_name="runs")
    op.drop_column("runs", "alone")
