"""an index of a job's events by their type"""

from alembic import op

from core.schema import outside_a_transaction

revision = "0020"
down_revision = "0017"
branch_labels = None
depends_on = None

INDEX = "ix_events_job_id_type_sequence"


def upgrade() -> None:
    with outside_a_transaction():
        # An attempt that was cut off leaves an index that Postgres marks as invalid
        op.drop_index(INDEX, table_name="events", postgresql_concurrently=True, if_exists=True)
        op.create_index(INDEX, "events", ["job_id", "type", "sequence"], postgresql_concurrently=True)


def downgrade() -> None:
    op.drop_index(INDEX, table_name="events")
