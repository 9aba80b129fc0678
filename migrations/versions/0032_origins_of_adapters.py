"""the origin of an adapter that no job has trained: an import, or a composition of adapters

No release has had the column `imported`, so it is renamed at once.
"""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

TYPE, OTHER = "ck_adapters_origin_type", "ck_adapters_either_trained_or_of_another_origin"
BEFORE = "ck_adapters_either_trained_or_imported"
RULE = (
    "(job_id IS NULL) = ({origin} IS NOT NULL) AND (job_id IS NULL) = (model IS NOT NULL)"
    " AND (job_id IS NULL) = (base_model IS NOT NULL) AND (job_id IS NULL) = (options IS NOT NULL)"
)


def upgrade() -> None:
    op.drop_constraint(op.f(BEFORE), "adapters", type_="check")
    op.alter_column("adapters", "imported", new_column_name="origin")
    op.execute('UPDATE adapters SET origin = origin || \'{"type": "import"}\' WHERE origin IS NOT NULL')
    op.create_check_constraint(op.f(OTHER), "adapters", RULE.format(origin="origin"))
    known = "origin IS NULL OR (origin ->> 'type' IN ('import', 'composition'))"
    op.create_check_constraint(op.f(TYPE), "adapters", known)


def downgrade() -> None:
    """Earlier releases know no compositions, so these adapters go. Their objects stay in the store."""
    composed = "origin ->> 'type' = 'composition'"
    op.execute(f"DELETE FROM tasks WHERE adapter_id IN (SELECT id FROM adapters WHERE {composed})")  # noqa: S608
    op.execute(f"DELETE FROM adapters WHERE {composed}")  # noqa: S608
    op.drop_constraint(op.f(TYPE), "adapters", type_="check")
    op.drop_constraint(op.f(OTHER), "adapters", type_="check")
    op.execute("UPDATE adapters SET origin = origin - 'type' WHERE origin IS NOT NULL")
    op.alter_column("adapters", "origin", new_column_name="imported")
    op.create_check_constraint(op.f(BEFORE), "adapters", RULE.format(origin="imported"))
