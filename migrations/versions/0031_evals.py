"""evals, and tasks that are runs of them, compositions and reports of portability"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

KINDS = "kind IN ('export', 'evalrun', 'composition', 'portability')"
BEFORE = "kind IN ('export')"


def upgrade() -> None:
    when = sa.DateTime(timezone=True)
    op.create_table(
        "evals",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("data_source_config", JSONB(), nullable=False),
        sa.Column("criteria", JSONB(), nullable=False),
        sa.Column("client_metadata", JSONB(), nullable=True),
        sa.Column("created_at", when, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", when, server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", when, nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_evals_project_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_evals_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evals")),
    )
    kept, of_jobs = sa.text("deleted_at IS NULL"), sa.text("job_id IS NOT NULL")
    op.create_index("ix_evals_project_id", "evals", ["project_id", "id"], postgresql_where=kept)
    op.create_index("ix_evals_job_id", "evals", ["job_id"], postgresql_where=of_jobs)
    op.add_column("tasks", sa.Column("eval_id", sa.String(), nullable=True))
    op.create_foreign_key(op.f("fk_tasks_eval_id"), "tasks", "evals", ["eval_id"], ["id"])
    of_evals = sa.text("eval_id IS NOT NULL")
    op.create_index("ix_tasks_eval_id_id", "tasks", ["eval_id", "id"], postgresql_where=of_evals)
    _replace_kinds(KINDS)


def downgrade() -> None:
    """Earlier releases know only exports, so the other tasks go. Their objects stay in the store."""
    op.execute("DELETE FROM tasks WHERE kind <> 'export'")
    _replace_kinds(BEFORE)
    op.drop_index("ix_tasks_eval_id_id", table_name="tasks")
    op.drop_column("tasks", "eval_id")
    op.drop_table("evals")


def _replace_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_tasks_kind"), "tasks", type_="check")
    op.create_check_constraint(op.f("ck_tasks_kind"), "tasks", kinds)
