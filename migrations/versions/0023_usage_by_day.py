"""the usage of projects by day, to which the janitor adds ended runs, and an index of files by purpose"""

import sqlalchemy as sa
from alembic import op

from core.schema import outside_a_transaction

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

TO_COUNT = sa.text("ended_at IS NOT NULL AND NOT counted")
PRESENT = sa.text("deleted_at IS NULL")
INDEXES: tuple[tuple[str, str, list[str], sa.TextClause], ...] = (
    ("ix_runs_to_count", "runs", ["job_id"], TO_COUNT),
    ("ix_files_present_by_purpose", "files", ["project_id", "purpose", "id"], PRESENT),
)


def upgrade() -> None:
    # If an index below is cut off, this migration begins again
    op.create_table(
        "usage_days",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("trained_tokens", sa.BigInteger(), nullable=False),
        sa.Column("device_seconds", sa.Numeric(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_usage_days_project_id")),
        sa.PrimaryKeyConstraint("project_id", "day", name=op.f("pk_usage_days")),
        if_not_exists=True,
    )
    op.add_column(
        "runs",
        sa.Column("counted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        if_not_exists=True,
    )
    with outside_a_transaction():
        for name, table, columns, where in INDEXES:
            # An attempt that was cut off leaves an index that Postgres marks as invalid
            op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)
            op.create_index(name, table, columns, postgresql_where=where, postgresql_concurrently=True)


def downgrade() -> None:
    for name, table, _, where in INDEXES:
        op.drop_index(name, table_name=table, postgresql_where=where)
    op.drop_column("runs", "counted")
    op.drop_table("usage_days")
