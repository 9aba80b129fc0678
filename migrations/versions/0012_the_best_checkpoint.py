"""which checkpoint of a job is its best"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("checkpoints", sa.Column("best", sa.Boolean(), server_default="false", nullable=False))
    op.create_index(
        "uq_checkpoints_best", "checkpoints", ["job_id"], unique=True, postgresql_where=sa.text("best")
    )
    _index_those_for_resume("NOT ends_epoch AND NOT best")


def downgrade() -> None:
    _index_those_for_resume("NOT ends_epoch")
    op.drop_column("checkpoints", "best")


def _index_those_for_resume(condition: str) -> None:
    op.drop_index("ix_checkpoints_for_resume", table_name="checkpoints")
    op.create_index(
        "ix_checkpoints_for_resume", "checkpoints", ["job_id"], postgresql_where=sa.text(condition)
    )
