"""uploads in parts, files that expire, adapters that can be deleted, checkpoints shared between projects"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
EXPIRING = sa.text("expires_at IS NOT NULL AND deleted_at IS NULL")
DELETED = sa.text("deleted_at IS NOT NULL AND cleaned_at IS NULL")
NOT_CLEANED = sa.text("cleaned_at IS NULL")


def upgrade() -> None:
    op.add_column("files", sa.Column("expires_at", MOMENT, nullable=True))
    op.create_index("ix_files_expires_at", "files", ["expires_at"], postgresql_where=EXPIRING)
    op.add_column("adapters", sa.Column("deleted_at", MOMENT, nullable=True))
    op.add_column("adapters", sa.Column("cleaned_at", MOMENT, nullable=True))
    op.create_index("ix_adapters_to_clean", "adapters", ["id"], postgresql_where=DELETED)
    op.create_index("ix_jobs_model_id", "jobs", [sa.text('"right"(id, 12)')])
    _create_uploads()
    _create_permissions()


def downgrade() -> None:
    op.drop_table("checkpoint_permissions")
    op.drop_table("upload_parts")
    op.drop_table("uploads")
    op.drop_index("ix_jobs_model_id", table_name="jobs")
    op.drop_index("ix_adapters_to_clean", table_name="adapters", postgresql_where=DELETED)
    op.drop_column("adapters", "cleaned_at")
    op.drop_column("adapters", "deleted_at")
    op.drop_index("ix_files_expires_at", table_name="files", postgresql_where=EXPIRING)
    op.drop_column("files", "expires_at")


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_lifetime", sa.Integer(), nullable=True),
        sa.Column("created_at", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("status", sa.String(), server_default="pending", nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("file_id", sa.String(), nullable=True),
        sa.Column("cleaned_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'completed', 'cancelled', 'expired')", name=op.f("ck_uploads_status")
        ),
        sa.CheckConstraint(
            "(status = 'completed') = (file_id IS NOT NULL)",
            name=op.f("ck_uploads_completed_with_a_file"),
        ),
        sa.CheckConstraint("(status = 'pending') = (ended_at IS NULL)", name=op.f("ck_uploads_ended_at")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_uploads_project_id")),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name=op.f("fk_uploads_file_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index(op.f("ix_uploads_project_id"), "uploads", ["project_id"])
    op.create_index(op.f("ix_uploads_file_id"), "uploads", ["file_id"])
    op.create_index("ix_uploads_to_clean", "uploads", ["id"], postgresql_where=NOT_CLEANED)
    op.create_table(
        "upload_parts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("upload_id", sa.String(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name=op.f("fk_upload_parts_upload_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload_parts")),
    )
    op.create_index(op.f("ix_upload_parts_upload_id"), "upload_parts", ["upload_id"])


def _create_permissions() -> None:
    op.create_table(
        "checkpoint_permissions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_checkpoint_permissions_job_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_checkpoint_permissions_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoint_permissions")),
        sa.UniqueConstraint("model", "project_id", name=op.f("uq_checkpoint_permissions_model_project_id")),
    )
    op.create_index("ix_checkpoint_permissions_model_id", "checkpoint_permissions", ["model", "id"])
    op.create_index(op.f("ix_checkpoint_permissions_project_id"), "checkpoint_permissions", ["project_id"])
