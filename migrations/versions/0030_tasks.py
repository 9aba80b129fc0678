"""tasks: work on results that is not training"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

ENDED = "status IN ('succeeded', 'failed', 'cancelled')"
CHECKS = {
    "kind": "kind IN ('export')",
    "status": "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')",
    "finished_at": f"({ENDED}) = (finished_at IS NOT NULL)",
    "only_a_failed_task_has_an_error": "(status = 'failed') = (error IS NOT NULL)",
    "a_running_task_is_held": "status <> 'running' OR held_until IS NOT NULL",
}


def upgrade() -> None:
    when = sa.DateTime(timezone=True)
    json = postgresql.JSONB()
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("adapter_id", sa.String(), nullable=True),
        sa.Column("request", json, nullable=False),
        sa.Column("status", sa.String(), server_default="queued", nullable=False),
        sa.Column("phase", sa.String(), nullable=True),
        sa.Column("done", sa.Float(), server_default="0", nullable=False),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("holder", sa.String(), nullable=True),
        sa.Column("held_until", when, nullable=True),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", json, nullable=True),
        sa.Column("report", json, nullable=True),
        sa.Column("object_prefix", sa.String(), nullable=True),
        sa.Column("files", json, server_default="[]", nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", when, server_default=sa.text("now()"), nullable=False),
        *(
            sa.Column(f"{name}_at", when, nullable=True)
            for name in ("started", "finished", "expires", "deleted", "cleaned")
        ),
        *(sa.CheckConstraint(check, name=op.f(f"ck_tasks_{name}")) for name, check in CHECKS.items()),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_tasks_project_id")),
        sa.ForeignKeyConstraint(["adapter_id"], ["adapters.id"], name=op.f("fk_tasks_adapter_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
    )
    unfinished, to_clean = "finished_at IS NULL", "deleted_at IS NOT NULL AND cleaned_at IS NULL"
    op.create_index("ix_tasks_open", "tasks", ["project_id", "id"], postgresql_where=sa.text(unfinished))
    op.create_index("ix_tasks_kept", "tasks", ["project_id"], postgresql_where=sa.text("deleted_at IS NULL"))
    op.create_index("ix_tasks_adapter_id_id", "tasks", ["adapter_id", "id"])
    op.create_index("ix_tasks_to_clean", "tasks", ["id"], postgresql_where=sa.text(to_clean))
    op.create_index(
        "ix_tasks_expires_at", "tasks", ["expires_at"], postgresql_where=sa.text("deleted_at IS NULL")
    )


def downgrade() -> None:
    op.drop_table("tasks")
