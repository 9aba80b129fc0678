"""files whose bytes go after their row, walks through the object store, retention of the audit log"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
DELETED = sa.text("deleted_at IS NOT NULL AND cleaned_at IS NULL")
REFUSE = "RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'check_violation';"
EXCEPT_RETENTION = """
    IF TG_OP = 'DELETE' AND current_setting('tunery.audit_retention', true) = 'on' THEN
        RETURN NULL;
    END IF;
"""


def upgrade() -> None:
    op.add_column("files", sa.Column("cleaned_at", MOMENT, nullable=True))
    # Until now, the bytes of a file were removed before its row was marked.
    op.execute("UPDATE files SET cleaned_at = deleted_at WHERE deleted_at IS NOT NULL")
    op.create_index("ix_files_to_clean", "files", ["id"], postgresql_where=DELETED)
    op.create_table(
        "store_walks",
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("after", sa.String(), server_default="", nullable=False),
        sa.Column("next_page_at", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_store_walks")),
    )
    _guard_audit_log(EXCEPT_RETENTION)


def downgrade() -> None:
    _guard_audit_log("\n")
    op.drop_table("store_walks")
    op.drop_index("ix_files_to_clean", table_name="files", postgresql_where=DELETED)
    op.drop_column("files", "cleaned_at")


def _guard_audit_log(exception: str) -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION refuse_change_of_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$\n"
        f"BEGIN{exception}    {REFUSE}\nEND $$"
    )
