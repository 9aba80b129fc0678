"""files whose rows are prompts without answers"""

from alembic import op

from core.schema import outside_a_transaction

revision = "0005"
down_revision = "0004"
phase = "expand"
harmless = {"ck_files_kind": "it accepts one kind more"}


def upgrade() -> None:
    op.execute("ALTER TABLE files DROP CONSTRAINT IF EXISTS ck_files_kind")
    op.execute(
        "ALTER TABLE files ADD CONSTRAINT ck_files_kind "
        "CHECK (kind IN ('chat', 'preference', 'labelled', 'prompt')) NOT VALID"
    )
    with outside_a_transaction():  # it reads all files, and holds up nobody
        op.execute("ALTER TABLE files VALIDATE CONSTRAINT ck_files_kind")
