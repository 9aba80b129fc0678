"""an index of the deliveries that have ended, by when"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TRIED_AT = sa.text("coalesce(last_attempt_at, created_at)")
ENDED = sa.text("next_attempt_at IS NULL")


def upgrade() -> None:
    op.create_index("ix_webhook_deliveries_ended", "webhook_deliveries", [TRIED_AT], postgresql_where=ENDED)


def downgrade() -> None:
    op.drop_index("ix_webhook_deliveries_ended", table_name="webhook_deliveries", postgresql_where=ENDED)
