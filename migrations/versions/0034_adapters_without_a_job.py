"""an index of the adapters that no job has trained: the list of models and the quota look for them"""

import sqlalchemy as sa
from alembic import op

from core.schema import outside_a_transaction

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

INDEX = "ix_adapters_without_a_job"


def upgrade() -> None:
    with outside_a_transaction():
        # An attempt that was cut off leaves an index that Postgres marks as invalid
        op.drop_index(INDEX, table_name="adapters", postgresql_concurrently=True, if_exists=True)
        op.create_index(
            INDEX,
            "adapters",
            ["project_id", "id"],
            postgresql_where=sa.text("job_id IS NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index(INDEX, table_name="adapters")
