"""the tables of release 0.1.0, with their indexes, functions and triggers"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
phase = "expand"

FOLDER = Path(__file__).parent.parent / "first"
# Each refers to earlier ones only
FILES = ("access", "files", "jobs", "metrics", "tasks", "chats", "processes")


def upgrade() -> None:
    for name in FILES:
        op.execute((FOLDER / f"{name}.sql").read_text())
