"""the tokens of chats, and the quotas of a project for them"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

COUNTS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")
QUOTAS = ("max_concurrent_chats", "max_tokens_per_minute")


def upgrade() -> None:
    for name in QUOTAS:
        op.add_column("projects", sa.Column(name, sa.Integer(), nullable=True))
    op.create_table(
        "chat_usage",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_chat_usage_project_id")),
        sa.PrimaryKeyConstraint("project_id", "day", "model", name=op.f("pk_chat_usage")),
    )


def downgrade() -> None:
    op.drop_table("chat_usage")
    for name in reversed(QUOTAS):
        op.drop_column("projects", name)
