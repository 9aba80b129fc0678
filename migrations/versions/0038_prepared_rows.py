"""the files that jobs make of their training files"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from core.schema import outside_a_transaction

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

INDEX = "ix_jobs_prepared_file_id"
KEY = "fk_jobs_prepared_file_id"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("prepared_file_id", sa.String(), nullable=True), if_not_exists=True)
    op.add_column("jobs", sa.Column("prepared_rows", JSONB(), nullable=True), if_not_exists=True)
    op.drop_constraint(op.f(KEY), "jobs", type_="foreignkey", if_exists=True)
    op.create_foreign_key(op.f(KEY), "jobs", "files", ["prepared_file_id"], ["id"])
    with outside_a_transaction():
        # An attempt that was cut off leaves an index that Postgres marks as invalid
        op.drop_index(INDEX, table_name="jobs", postgresql_concurrently=True, if_exists=True)
        made = sa.text("prepared_file_id IS NOT NULL")
        op.create_index(
            INDEX, "jobs", ["prepared_file_id"], postgresql_where=made, postgresql_concurrently=True
        )


def downgrade() -> None:
    """Forget which files jobs have made. The files stay."""
    op.drop_index(INDEX, table_name="jobs")
    op.drop_column("jobs", "prepared_rows")
    op.drop_column("jobs", "prepared_file_id")
