"""tasks that check or convert a file"""

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0035"
branch_labels = None
depends_on = None

KINDS = "kind IN ('export', 'evalrun', 'composition', 'portability', 'check', 'conversion')"
BEFORE = "kind IN ('export', 'evalrun', 'composition', 'portability')"


def upgrade() -> None:
    for column in ("file_id", "made_file_id"):
        op.add_column("tasks", sa.Column(column, sa.String(), nullable=True))
        op.create_foreign_key(op.f(f"fk_tasks_{column}"), "tasks", "files", [column], ["id"])
    of_files = sa.text("file_id IS NOT NULL")
    op.create_index("ix_tasks_file_id_id", "tasks", ["file_id", "id"], postgresql_where=of_files)
    _replace_kinds(KINDS)


def downgrade() -> None:
    """Delete the tasks that earlier releases do not know. The files that they have made stay."""
    op.execute("DELETE FROM tasks WHERE kind IN ('check', 'conversion')")
    _replace_kinds(BEFORE)
    op.drop_index("ix_tasks_file_id_id", table_name="tasks")
    for column in ("file_id", "made_file_id"):
        op.drop_column("tasks", column)


def _replace_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_tasks_kind"), "tasks", type_="check")
    op.create_check_constraint(op.f("ck_tasks_kind"), "tasks", kinds)
