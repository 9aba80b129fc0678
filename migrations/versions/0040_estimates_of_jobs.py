"""estimates of jobs, what was measured of them, and the tokens of files"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from core.schema import outside_a_transaction

revision = "0040"
down_revision = "0038"
branch_labels = None
depends_on = None


INDEX = "ix_jobs_measured"
JSON = JSONB(none_as_null=True)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("estimate", JSON, nullable=True), if_not_exists=True)
    op.add_column("jobs", sa.Column("measured", JSON, nullable=True), if_not_exists=True)
    op.add_column("files", sa.Column("longest_line", sa.BigInteger(), nullable=True), if_not_exists=True)
    op.add_column("workers", sa.Column("number_bytes", sa.Integer(), nullable=True), if_not_exists=True)
    op.add_column("workers", sa.Column("lanes", sa.Integer(), nullable=True), if_not_exists=True)
    key = ("file_id", "tokenizer", "rendering", "max_length")
    op.create_table(
        "token_counts",
        sa.Column("file_id", sa.String(), nullable=False),
        sa.Column("tokenizer", sa.String(), nullable=False),
        sa.Column("rendering", sa.String(), nullable=False),
        sa.Column("max_length", sa.Integer(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("longest", sa.Integer(), nullable=False),
        sa.Column("squares", sa.Float(), nullable=False),
        sa.Column("computed_share", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_token_counts")),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name=op.f("fk_token_counts_file_id")),
        if_not_exists=True,
    )
    with outside_a_transaction():
        # An attempt that was cut off leaves an index that Postgres marks as invalid
        op.drop_index(INDEX, table_name="jobs", postgresql_concurrently=True, if_exists=True)
        ended = sa.text("status = 'succeeded' AND measured IS NOT NULL")
        op.create_index(
            INDEX, "jobs", ["base_model", "id"], postgresql_where=ended, postgresql_concurrently=True
        )


def downgrade() -> None:
    op.drop_index(INDEX, table_name="jobs")
    op.drop_table("token_counts")
    op.drop_column("workers", "lanes")
    op.drop_column("workers", "number_bytes")
    op.drop_column("files", "longest_line")
    op.drop_column("jobs", "measured")
    op.drop_column("jobs", "estimate")
