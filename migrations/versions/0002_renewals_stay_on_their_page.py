"""renewals of claims stay on their page: no index has the end of a lease, and pages keep room for versions

The claims whose leases have ended are found among the open claims, which `uq_runs_open` has.
"""

from alembic import op

from core.schema import outside_a_transaction

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE runs SET (fillfactor = 70)")
    with outside_a_transaction():
        # An attempt that was cut off leaves an index that Postgres marks as invalid
        op.drop_index("ix_runs_open_owner", table_name="runs", postgresql_concurrently=True, if_exists=True)
        op.execute("CREATE INDEX CONCURRENTLY ix_runs_open_owner ON runs (owner) WHERE ended_at IS NULL")
        op.drop_index(
            "ix_runs_open_expires_at", table_name="runs", postgresql_concurrently=True, if_exists=True
        )
