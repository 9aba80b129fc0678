"""an index of the adapter that a job continues from, for the list of an adapter's descendants"""

import sqlalchemy as sa
from alembic import op

from core.schema import outside_a_transaction

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

INDEX = "ix_jobs_parent_adapter"
PARENT = "(((spec -> 'lineage') -> 0) ->> 'adapter_id')"


def upgrade() -> None:
    with outside_a_transaction():
        # An attempt that was cut off leaves an index that Postgres marks as invalid
        op.drop_index(INDEX, table_name="jobs", postgresql_concurrently=True, if_exists=True)
        op.create_index(
            INDEX,
            "jobs",
            ["project_id", sa.text(PARENT), "id"],
            postgresql_where=sa.text(f"{PARENT} IS NOT NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index(INDEX, table_name="jobs")
