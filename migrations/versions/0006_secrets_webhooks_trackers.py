"""secrets at rest, webhook endpoints with their deliveries, and trackers that jobs report to"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _add_secrets()
    _add_webhooks()
    _add_trackers()


def downgrade() -> None:
    op.drop_column("jobs", "tensorboard_file_id")
    op.drop_column("jobs", "integrations")
    for table in ("trackers", "webhook_deliveries", "webhook_endpoints", "secrets"):
        op.drop_table(table)


def _add_secrets() -> None:
    op.create_table(
        "secrets",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sealed", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("updated_at", MOMENT, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_secrets_project_id")),
        sa.PrimaryKeyConstraint("project_id", "name", name=op.f("pk_secrets")),
    )


def _add_webhooks() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("event_types", postgresql.ARRAY(sa.TEXT()), nullable=False),
        sa.Column("sealed_secret", sa.String(), nullable=False),
        sa.Column("secret_hint", sa.String(), nullable=False),
        sa.Column("former_sealed_secret", sa.String(), nullable=True),
        sa.Column("former_expires_at", MOMENT, nullable=True),
        sa.Column("disabled_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("updated_at", MOMENT, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_webhook_endpoints_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    op.create_index("ix_webhook_endpoints_project_id_id", "webhook_endpoints", ["project_id", "id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.String(), nullable=False),
        sa.Column("event_type", sa.String(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("status", sa.String(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", MOMENT, server_default=NOW, nullable=True),
        sa.Column("last_attempt_at", MOMENT, nullable=True),
        sa.Column("response_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("created_at", MOMENT, server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_status")
        ),
        sa.CheckConstraint(
            "(status = 'pending') = (next_attempt_at IS NOT NULL)",
            name=op.f("ck_webhook_deliveries_only_a_pending_one_is_attempted"),
        ),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoints.id"],
            name=op.f("fk_webhook_deliveries_endpoint_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["next_attempt_at"],
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_index("ix_webhook_deliveries_endpoint_id_id", "webhook_deliveries", ["endpoint_id", "id"])


def _add_trackers() -> None:
    op.create_table(
        "trackers",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("reported_step", sa.Integer(), server_default="0", nullable=False),
        sa.Column("holder", sa.String(), nullable=True),
        sa.Column("held_until", MOMENT, server_default=NOW, nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_trackers_job_id")),
        sa.PrimaryKeyConstraint("job_id", "type", name=op.f("pk_trackers")),
    )
    op.create_index(
        "ix_trackers_due", "trackers", ["held_until"], postgresql_where=sa.text("ended_at IS NULL")
    )
    op.add_column("jobs", sa.Column("integrations", postgresql.JSONB(), server_default="[]", nullable=False))
    op.add_column("jobs", sa.Column("tensorboard_file_id", sa.String(), nullable=True))
    op.create_foreign_key(
        op.f("fk_jobs_tensorboard_file_id"), "jobs", "files", ["tensorboard_file_id"], ["id"]
    )
