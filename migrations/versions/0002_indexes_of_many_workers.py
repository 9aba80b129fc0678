"""indexes with which many workers do not hold up each other

Most renewals stay on their page: no index has the end of a lease, and pages of claims have room for new
versions.
The claims whose leases have ended are found among the open claims, which `uq_runs_open` has.

Workers see which kinds of tasks wait without reading all open tasks, by an index that begins with the kind.

The first waiting job of each project is found by `ix_jobs_queue_by_project`. Postgres took `ix_jobs_queue`
instead where few jobs of a million waited, and read all waiting jobs once for each project.
"""

from alembic import op

from core.schema import outside_a_transaction

revision = "0002"
down_revision = "0001"
phase = "expand"
harmless = {
    "ix_runs_open_expires_at": "expired claims are found among the open ones",
    "ix_jobs_queue": "ix_jobs_queue_by_project has the same jobs in the same order",
}

OPEN_KIND = """
CREATE INDEX CONCURRENTLY ix_tasks_open_kind_held_until ON tasks (kind, held_until NULLS FIRST)
    WHERE finished_at IS NULL
"""
OPEN_OWNER = "CREATE INDEX CONCURRENTLY ix_runs_open_owner ON runs (owner) WHERE ended_at IS NULL"


def upgrade() -> None:
    op.execute("ALTER TABLE runs SET (fillfactor = 70)")
    with outside_a_transaction():
        # An attempt that was cut off leaves an index that Postgres marks as invalid
        _drop("ix_runs_open_owner", "runs")
        op.execute(OPEN_OWNER)
        _drop("ix_tasks_open_kind_held_until", "tasks")
        op.execute(OPEN_KIND)
        _drop("ix_runs_open_expires_at", "runs")
        _drop("ix_jobs_queue", "jobs")


def _drop(name: str, table: str) -> None:
    op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)
