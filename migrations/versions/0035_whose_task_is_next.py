"""tasks that jobs have started, and an index of when a project's tasks were served"""

import sqlalchemy as sa
from alembic import op

from core.schema import outside_a_transaction

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

INDEX = "ix_tasks_served"


def upgrade() -> None:
    by_job = sa.Column("started_by_job", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    op.add_column("tasks", by_job, if_not_exists=True)
    with outside_a_transaction():
        # An attempt that was cut off leaves an index that Postgres marks as invalid
        op.drop_index(INDEX, table_name="tasks", postgresql_concurrently=True, if_exists=True)
        op.create_index(
            INDEX,
            "tasks",
            ["project_id", sa.text("greatest(started_at, held_until)")],
            postgresql_where=sa.text("deleted_at IS NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index(INDEX, table_name="tasks")
    op.drop_column("tasks", "started_by_job")
