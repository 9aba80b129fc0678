"""the losses of single rows before and after a training"""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "row_losses",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("part", sa.String(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("before", sa.Double(), nullable=True),
        sa.Column("after", sa.Double(), nullable=True),
        sa.Column("suspicion", sa.Double(), nullable=True),
        sa.CheckConstraint("part IN ('training', 'validation')", name=op.f("ck_row_losses_part")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_row_losses_job_id")),
        sa.PrimaryKeyConstraint("job_id", "part", "line", name=op.f("pk_row_losses")),
    )


def downgrade() -> None:
    op.drop_table("row_losses")
