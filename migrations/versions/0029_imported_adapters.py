"""adapters that a client has imported, which no job has trained"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

COLUMNS = {"model": sa.String(), "base_model": sa.String(), "options": JSONB(), "imported": JSONB()}
CHECK, UNIQUE = "ck_adapters_either_trained_or_imported", "uq_adapters_model"
RULE = (
    "(job_id IS NULL) = (imported IS NOT NULL) AND (job_id IS NULL) = (model IS NOT NULL)"
    " AND (job_id IS NULL) = (base_model IS NOT NULL) AND (job_id IS NULL) = (options IS NOT NULL)"
)


def upgrade() -> None:
    for column, type_ in COLUMNS.items():
        op.add_column("adapters", sa.Column(column, type_, nullable=True))
    op.alter_column("adapters", "job_id", nullable=True)
    op.create_unique_constraint(op.f(UNIQUE), "adapters", ["model"])
    op.create_check_constraint(op.f(CHECK), "adapters", RULE)


def downgrade() -> None:
    """Earlier releases know no imported adapters, so these rows go. Their objects stay in the store."""
    op.drop_constraint(op.f(CHECK), "adapters", type_="check")
    op.execute("DELETE FROM adapters WHERE job_id IS NULL")
    op.drop_constraint(op.f(UNIQUE), "adapters", type_="unique")
    op.alter_column("adapters", "job_id", nullable=False)
    for column in reversed(COLUMNS):
        op.drop_column("adapters", column)
