"""a list of the jobs of one status, and the best validation loss of a job"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# Of what is kept of a job; the losses of its other evaluations stand in its metrics alone.
FROM_CHECKPOINTS = """
UPDATE runs SET best_valid_loss = best.loss, best_step = best.step
    FROM jobs, (
        SELECT DISTINCT ON (job_id)
                job_id, step, CAST(metrics ->> 'full_valid_loss' AS double precision) AS loss
            FROM checkpoints
            WHERE metrics ->> 'full_valid_loss' IS NOT NULL
            ORDER BY job_id, loss, step
    ) best
    WHERE best.job_id = jobs.id AND runs.job_id = jobs.id AND runs.fence = jobs.fence
"""


def upgrade() -> None:
    op.add_column("runs", sa.Column("best_valid_loss", sa.Double(), nullable=True))
    op.add_column("runs", sa.Column("best_step", sa.Integer(), nullable=True))
    op.execute(FROM_CHECKPOINTS)
    op.create_index("ix_jobs_project_id_status_id", "jobs", ["project_id", "status", "id"])


def downgrade() -> None:
    op.drop_index("ix_jobs_project_id_status_id", table_name="jobs")
    op.drop_column("runs", "best_step")
    op.drop_column("runs", "best_valid_loss")
