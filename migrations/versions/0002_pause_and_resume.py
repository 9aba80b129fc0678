"""pause and resume; running jobs counted by project"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TRANSITIONS = """
CREATE OR REPLACE FUNCTION refuse_illegal_job_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (
        (OLD.status = 'queued' AND NEW.status IN ('running', 'paused', 'failed', 'cancelled'))
        OR (OLD.status = 'running'
            AND NEW.status IN ('queued', 'paused', 'succeeded', 'failed', 'cancelled'))
        OR (OLD.status = 'paused' AND NEW.status IN ('queued', 'cancelled'))
    ) THEN
        RAISE EXCEPTION 'job %: no way leads from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
"""
# As 0001 left it, to the letter
FORMER_TRANSITIONS = """
CREATE OR REPLACE FUNCTION refuse_illegal_job_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (
        (OLD.status = 'queued' AND NEW.status IN ('running', 'failed', 'cancelled'))
        OR (OLD.status = 'running' AND NEW.status IN ('queued', 'succeeded', 'failed', 'cancelled'))
    ) THEN
        RAISE EXCEPTION 'job %: no way leads from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    op.add_column("runs", sa.Column("pause_requested_at", sa.DateTime(timezone=True), nullable=True))
    _allow(
        "'queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled'",
        "'succeeded', 'failed', 'cancelled', 'paused', 'lost', 'released'",
    )
    op.execute(TRANSITIONS)
    op.create_index("ix_jobs_running", "jobs", ["project_id"], postgresql_where=sa.text("status = 'running'"))


def downgrade() -> None:
    op.drop_index("ix_jobs_running", table_name="jobs", postgresql_where=sa.text("status = 'running'"))
    op.execute("UPDATE jobs SET status = 'queued' WHERE status = 'paused'")
    op.execute("UPDATE runs SET outcome = 'released' WHERE outcome = 'paused'")
    op.execute(FORMER_TRANSITIONS)
    _allow(
        "'queued', 'running', 'succeeded', 'failed', 'cancelled'",
        "'succeeded', 'failed', 'cancelled', 'lost', 'released'",
    )
    op.drop_column("runs", "pause_requested_at")


def _allow(statuses: str, outcomes: str) -> None:
    for table, column, values in (("jobs", "status", statuses), ("runs", "outcome", outcomes)):
        name = op.f(f"ck_{table}_{column}")
        op.drop_constraint(name, table, type_="check")
        op.create_check_constraint(name, table, f"{column} IN ({values})")
