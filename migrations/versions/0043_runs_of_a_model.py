"""an index of the models that runs of evals judge"""

import sqlalchemy as sa
from alembic import op

from core.schema import outside_a_transaction

revision = "0043"
down_revision = "0040"
branch_labels = None
depends_on = None

INDEX = "ix_tasks_judged_model"


def upgrade() -> None:
    with outside_a_transaction():
        # An attempt that was cut off leaves an index that Postgres marks as invalid
        op.drop_index(INDEX, table_name="tasks", postgresql_concurrently=True, if_exists=True)
        op.create_index(
            INDEX,
            "tasks",
            ["project_id", sa.text("(request ->> 'model')")],
            postgresql_where=sa.text("eval_id IS NOT NULL AND deleted_at IS NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index(INDEX, table_name="tasks")
