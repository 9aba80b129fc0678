"""aliases of models with their moves, stored chat completions, and the lineage of files made of them"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
QUOTAS = {"max_completion_bytes": sa.BigInteger(), "max_completion_days": sa.Integer()}


def moment(name: str, *, is_set: bool = True) -> sa.Column[sa.DateTime]:
    default = {"server_default": NOW} if is_set else {}
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not is_set, **default)


def text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=nullable)


def owner(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=f"fk_{table}_project_id")


def upgrade() -> None:
    _create_aliases()
    _create_completions()
    for quota, type_ in QUOTAS.items():
        op.add_column("projects", sa.Column(quota, type_, nullable=True))
    op.add_column("files", sa.Column("lineage", JSONB(), nullable=True))


def _create_aliases() -> None:
    op.create_table(
        "aliases",
        *(text("project_id"), text("name")),
        sa.Column("weights", JSONB(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        *(moment("created_at"), moment("updated_at")),
        owner("aliases"),
        sa.PrimaryKeyConstraint("project_id", "name", name="pk_aliases"),
    )
    op.create_table(
        "alias_moves",
        *(text("project_id"), text("alias")),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("weights", JSONB(), nullable=False),
        sa.Column("restored", sa.Integer(), nullable=True),
        text("key_id", nullable=True),
        moment("created_at"),
        sa.ForeignKeyConstraint(
            ["project_id", "alias"],
            ["aliases.project_id", "aliases.name"],
            name="fk_alias_moves_project_id_alias",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_alias_moves_key_id"),
        sa.PrimaryKeyConstraint("project_id", "alias", "version", name="pk_alias_moves"),
    )


def _create_completions() -> None:
    table = "stored_completions"
    op.create_table(
        table,
        *(text("id"), text("project_id"), text("model")),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        text("prompt_sha256"),
        sa.Column("client_metadata", JSONB(), nullable=False),
        text("request_id", nullable=True),
        text("rating", nullable=True),
        text("corrected_answer", nullable=True),
        moment("rated_at", is_set=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        moment("created_at"),
        sa.CheckConstraint("rating IN ('up', 'down')", name=op.f(f"ck_{table}_rating")),
        owner(table),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )
    op.create_index(f"ix_{table}_project_id_id", table, ["project_id", "id"])
    op.create_index(f"ix_{table}_project_id_model_id", table, ["project_id", "model", "id"])
    rated, liked = sa.text("rated_at IS NOT NULL"), sa.text("rating = 'up'")
    op.create_index(f"ix_{table}_rated", table, ["project_id", "id"], postgresql_where=rated)
    prompt = ["project_id", "prompt_sha256", "id"]
    op.create_index(f"ix_{table}_liked", table, prompt, postgresql_where=liked)
    op.create_index(
        f"ix_{table}_client_metadata",
        table,
        ["client_metadata"],
        postgresql_using="gin",
        postgresql_ops={"client_metadata": "jsonb_path_ops"},
    )
    op.create_table(
        "completion_bytes",
        text("project_id"),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("bytes >= 0", name=op.f("ck_completion_bytes_bytes")),
        owner("completion_bytes"),
        sa.PrimaryKeyConstraint("project_id", name="pk_completion_bytes"),
    )


def downgrade() -> None:
    op.drop_column("files", "lineage")
    for quota in QUOTAS:
        op.drop_column("projects", quota)
    for table in ("completion_bytes", "stored_completions", "alias_moves", "aliases"):
        op.drop_table(table)
