"""indexes of the adapter that a job continues from, and of the adapters that no job has trained"""

import sqlalchemy as sa
from alembic import op

from core.schema import outside_a_transaction

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

BY_PARENT, WITHOUT_A_JOB = "ix_jobs_parent_adapter", "ix_adapters_without_a_job"
PARENT = "(((spec -> 'lineage') -> 0) ->> 'adapter_id')"


def upgrade() -> None:
    with outside_a_transaction():
        # An attempt that was cut off leaves an index that Postgres marks as invalid
        op.drop_index(BY_PARENT, table_name="jobs", postgresql_concurrently=True, if_exists=True)
        op.create_index(
            BY_PARENT,
            "jobs",
            ["project_id", sa.text(PARENT), "id"],
            postgresql_where=sa.text(f"{PARENT} IS NOT NULL"),
            postgresql_concurrently=True,
        )
        op.drop_index(WITHOUT_A_JOB, table_name="adapters", postgresql_concurrently=True, if_exists=True)
        op.create_index(
            WITHOUT_A_JOB,
            "adapters",
            ["project_id", "id"],
            postgresql_where=sa.text("job_id IS NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index(WITHOUT_A_JOB, table_name="adapters")
    op.drop_index(BY_PARENT, table_name="jobs")
