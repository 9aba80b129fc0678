"""jobs that train several candidates"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("is_sweep", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.create_index("ix_jobs_sweeps", "jobs", ["project_id", "id"], postgresql_where=sa.text("is_sweep"))
    op.create_table(
        "candidates",
        sa.Column("job_id", sa.String(), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("trained_tokens", sa.BigInteger(), nullable=False),
        sa.Column("rungs", JSONB(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
    )
    op.create_check_constraint("status", "candidates", "status IN ('training', 'dropped', 'failed', 'won')")
    op.create_table(
        "candidate_metrics",
        sa.Column("job_id", sa.String(), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("step", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("data", JSONB(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("candidate_metrics")
    op.drop_table("candidates")
    op.drop_column("jobs", "is_sweep")
