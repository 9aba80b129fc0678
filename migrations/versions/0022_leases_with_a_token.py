"""a token for each lease, and an index for the first waiting job of each project"""

import sqlalchemy as sa
from alembic import op

from core.schema import outside_a_transaction

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

INDEX = "ix_jobs_queue_by_project"
QUEUED = sa.text("status = 'queued'")


def upgrade() -> None:
    # If the index below is cut off, this migration begins again
    op.add_column("runs", sa.Column("token", sa.String(), nullable=True), if_not_exists=True)
    with outside_a_transaction():
        # An attempt that was cut off leaves an index that Postgres marks as invalid
        op.drop_index(INDEX, table_name="jobs", postgresql_concurrently=True, if_exists=True)
        op.create_index(
            INDEX,
            "jobs",
            ["devices", "project_id", "id"],
            postgresql_where=QUEUED,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_column("runs", "token")
    op.drop_index(INDEX, table_name="jobs", postgresql_where=QUEUED)
