"""jobs found by their metadata"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_jobs_client_metadata",
        "jobs",
        ["client_metadata"],
        postgresql_using="gin",
        postgresql_ops={"client_metadata": "jsonb_path_ops"},
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_client_metadata", table_name="jobs", postgresql_using="gin")
