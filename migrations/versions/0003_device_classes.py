"""device classes: how many devices a job asks for, and a queue for each number"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

QUEUED = sa.text("status = 'queued'")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("devices", sa.Integer(), server_default="1", nullable=False))
    _index("devices", "base_model", "id")


def downgrade() -> None:
    _index("base_model", "id")
    op.drop_column("jobs", "devices")


def _index(*columns: str) -> None:
    op.drop_index("ix_jobs_queue", table_name="jobs", postgresql_where=QUEUED)
    op.create_index("ix_jobs_queue", "jobs", list(columns), postgresql_where=QUEUED)
