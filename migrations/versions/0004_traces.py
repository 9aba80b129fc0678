"""the trace that each job, task and delivery of a webhook belongs to"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
phase = "expand"


def upgrade() -> None:
    for table in ("jobs", "tasks", "webhook_deliveries"):
        op.add_column(table, sa.Column("traceparent", sa.String()))
