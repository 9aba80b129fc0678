"""what rows need of a chat template, and what templates have a place for"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0044"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("files", sa.Column("needs", postgresql.JSONB(), nullable=True), if_not_exists=True)
    op.create_table(
        "chat_templates",
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("places", postgresql.JSONB(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("base_model", name=op.f("pk_chat_templates")),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("chat_templates")
    op.drop_column("files", "needs")
