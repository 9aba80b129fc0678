"""runs that compute alone, and indexes for what is swept"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("alone", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("ix_runs_owner", "runs", ["owner"])
    only_for_resume = sa.text("NOT ends_epoch")
    op.create_index("ix_checkpoints_for_resume", "checkpoints", ["job_id"], postgresql_where=only_for_resume)


def downgrade() -> None:
    op.drop_index("ix_checkpoints_for_resume", table_name="checkpoints")
    op.drop_index("ix_runs_owner", table_name="runs")
    op.drop_column("runs", "alone")
