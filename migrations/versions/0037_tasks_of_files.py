"""tasks that check or convert a file"""

import sqlalchemy as sa
from alembic import op

from core.schema import outside_a_transaction

revision = "0037"
down_revision = "0035"
branch_labels = None
depends_on = None

INDEX = "ix_tasks_file_id_id"
COLUMNS = ("file_id", "made_file_id")
KINDS = "kind IN ('export', 'evalrun', 'composition', 'portability', 'check', 'conversion')"
BEFORE = "kind IN ('export', 'evalrun', 'composition', 'portability')"


def upgrade() -> None:
    for column in COLUMNS:
        name = op.f(f"fk_tasks_{column}")
        op.add_column("tasks", sa.Column(column, sa.String(), nullable=True), if_not_exists=True)
        op.drop_constraint(name, "tasks", type_="foreignkey", if_exists=True)
        op.create_foreign_key(name, "tasks", "files", [column], ["id"])
    _replace_kinds(KINDS)
    with outside_a_transaction():
        # An attempt that was cut off leaves an index that Postgres marks as invalid
        op.drop_index(INDEX, table_name="tasks", postgresql_concurrently=True, if_exists=True)
        of_files = sa.text("file_id IS NOT NULL")
        op.create_index(
            INDEX, "tasks", ["file_id", "id"], postgresql_where=of_files, postgresql_concurrently=True
        )


def downgrade() -> None:
    """Delete the tasks that earlier releases do not know. The files that they have made stay."""
    op.execute("DELETE FROM tasks WHERE kind IN ('check', 'conversion')")
    _replace_kinds(BEFORE)
    op.drop_index(INDEX, table_name="tasks")
    for column in COLUMNS:
        op.drop_column("tasks", column)


def _replace_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_tasks_kind"), "tasks", type_="check")
    op.create_check_constraint(op.f("ck_tasks_kind"), "tasks", kinds)
