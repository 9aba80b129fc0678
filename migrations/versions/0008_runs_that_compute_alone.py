"""runs that compute alone, and indexes for what is swept"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

QUEUED = sa.text("status = 'queued'")
ONLY_FOR_RESUME = sa.text("NOT ends_epoch")


def upgrade() -> None:
    op.add_column("runs", sa.Column("alone", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("ix_runs_owner", "runs", ["owner"])
    op.create_index("ix_checkpoints_for_resume", "checkpoints", ["job_id"], postgresql_where=ONLY_FOR_RESUME)
    _index_queue("devices", "id")


def downgrade() -> None:
    _index_queue("devices", "base_model", "id")
    op.drop_index("ix_checkpoints_for_resume", table_name="checkpoints")
    op.drop_index("ix_runs_owner", table_name="runs")
    op.drop_column("runs", "alone")


def _index_queue(*columns: str) -> None:
    op.drop_index("ix_jobs_queue", table_name="jobs", postgresql_where=QUEUED)
    op.create_index("ix_jobs_queue", "jobs", list(columns), postgresql_where=QUEUED)
