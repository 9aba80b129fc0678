"""an index of a job's events by their type"""

from alembic import op

revision = "0020"
down_revision = "0017"
branch_labels = None
depends_on = None

INDEX = "ix_events_job_id_type_sequence"
# The index is built while jobs write events. It waits for transactions that began earlier. Ours end within a
# minute; behind one that somebody left open, it gives up with an error, and can be run again.
LOCK_TIMEOUT = "2min"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")  # what an attempt that gave up has left
        op.create_index(INDEX, "events", ["job_id", "type", "sequence"], postgresql_concurrently=True)
        op.execute("RESET lock_timeout")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        op.drop_index(INDEX, table_name="events", postgresql_concurrently=True)
        op.execute("RESET lock_timeout")
