"""indexes of the files that are there and of the uploads that are pending"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PRESENT = sa.text("deleted_at IS NULL")
PENDING = sa.text("status = 'pending'")


def upgrade() -> None:
    op.create_index("ix_files_present", "files", ["project_id", "id"], postgresql_where=PRESENT)
    op.drop_index("ix_files_project_id", table_name="files")
    op.create_index("ix_uploads_pending", "uploads", ["project_id"], postgresql_where=PENDING)
    op.drop_index("ix_uploads_project_id", table_name="uploads")


def downgrade() -> None:
    op.create_index("ix_uploads_project_id", "uploads", ["project_id"])
    op.drop_index("ix_uploads_pending", table_name="uploads", postgresql_where=PENDING)
    op.create_index("ix_files_project_id", "files", ["project_id"])
    op.drop_index("ix_files_present", table_name="files", postgresql_where=PRESENT)
