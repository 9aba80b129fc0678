"""jobs that were deleted, and what the janitor has cleaned"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
TO_CLEAN = sa.text("finished_at IS NOT NULL AND cleaned_at IS NULL")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("deleted_at", MOMENT, nullable=True))
    op.add_column("jobs", sa.Column("cleaned_at", MOMENT, nullable=True))
    op.create_check_constraint(
        op.f("ck_jobs_only_an_ended_job_is_deleted"), "jobs", "deleted_at IS NULL OR finished_at IS NOT NULL"
    )
    op.create_index("ix_jobs_to_clean", "jobs", ["id"], postgresql_where=TO_CLEAN)


def downgrade() -> None:
    op.drop_index("ix_jobs_to_clean", table_name="jobs", postgresql_where=TO_CLEAN)
    op.drop_constraint(op.f("ck_jobs_only_an_ended_job_is_deleted"), "jobs", type_="check")
    op.drop_column("jobs", "cleaned_at")
    op.drop_column("jobs", "deleted_at")
