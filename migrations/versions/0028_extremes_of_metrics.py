"""the smallest and largest values of each block of 50 steps, from which long curves are drawn"""

import sqlalchemy as sa
from alembic import op

from core.schema import outside_a_transaction

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

BATCH = 1000  # jobs

# These values never fall, so a curve needs none of their extremes beside its first and last step
VALUES_OF_STEP = """
CREATE OR REPLACE FUNCTION values_of_step(step integer, data jsonb)
RETURNS TABLE (name text, value double precision) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT key, value::double precision FROM jsonb_each_text(data)
    WHERE value ~ '^[-0-9]'
        AND key NOT IN ('step', 'total_steps', 'candidate', 'trained_seconds', 'trained_tokens')
    UNION ALL SELECT 'step', step::double precision
$$
"""
# Arrays are compared element by element: among equal values, the earliest step is the smallest or largest
EXTREMES_OF_BLOCK = """
CREATE OR REPLACE FUNCTION extremes_of_{table}(of_job text, of_candidate integer, of_block integer)
RETURNS SETOF metric_extremes LANGUAGE sql STABLE AS $$
    SELECT of_job, of_candidate, of_block, name, least[1], least[2]::integer, most[1], -most[2]::integer
    FROM (
        SELECT name, min(ARRAY[value, step]) AS least, max(ARRAY[value, -step]) AS most
        FROM {table}, LATERAL values_of_step(step, data)
        WHERE job_id = of_job AND {candidate} = of_candidate
            AND step BETWEEN 50 * of_block AND 50 * of_block + 49
        GROUP BY name
    ) AS of_values
$$
"""
KEEP = """
CREATE OR REPLACE FUNCTION keep_extremes_of_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM metric_extremes
        WHERE job_id = OLD.job_id AND candidate = {old_candidate} AND block = OLD.step / 50;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.step % 50 = 49 THEN
        INSERT INTO metric_extremes
        SELECT * FROM extremes_of_{table}(NEW.job_id, {new_candidate}, NEW.step / 50)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$
"""
TRIGGERS = (
    # An ordinary step costs no call
    "CREATE OR REPLACE TRIGGER keep_extremes_inserted AFTER INSERT ON {table}"
    " FOR EACH ROW WHEN (NEW.step % 50 = 49) EXECUTE FUNCTION keep_extremes_of_{table}()",
    # A step that is computed again after a crash
    "CREATE OR REPLACE TRIGGER keep_extremes_updated AFTER UPDATE ON {table}"
    " FOR EACH ROW EXECUTE FUNCTION keep_extremes_of_{table}()",
    # Steps are deleted from one step on to the last, so the last step of each block is among them
    "CREATE OR REPLACE TRIGGER keep_extremes_deleted AFTER DELETE ON {table}"
    " FOR EACH ROW WHEN (OLD.step % 50 = 49) EXECUTE FUNCTION keep_extremes_of_{table}()",
)
SERIES = (
    {"table": "metrics", "candidate": "-1", "old_candidate": "-1", "new_candidate": "-1"},
    {
        **{"table": "candidate_metrics", "candidate": "number"},
        **{"old_candidate": "OLD.number", "new_candidate": "NEW.number"},
    },
)
FILL = """
WITH batch AS (SELECT id FROM jobs WHERE id > :after ORDER BY id LIMIT :most),
filled AS (
    INSERT INTO metric_extremes
    SELECT extremes.* FROM batch JOIN {table} ON job_id = id AND step % 50 = 49,
        LATERAL extremes_of_{table}(job_id, {candidate}, step / 50) AS extremes
    ON CONFLICT DO NOTHING
)
SELECT max(id) FROM batch
"""


def upgrade() -> None:
    # If what is outside of the transaction is cut off, this migration begins again
    op.create_table(
        "metric_extremes",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("candidate", sa.Integer(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("least", sa.Double(), nullable=False),
        sa.Column("least_step", sa.Integer(), nullable=False),
        sa.Column("most", sa.Double(), nullable=False),
        sa.Column("most_step", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_metric_extremes_job_id")),
        sa.PrimaryKeyConstraint("job_id", "candidate", "block", "name", name=op.f("pk_metric_extremes")),
        if_not_exists=True,
    )
    op.execute(VALUES_OF_STEP)
    for series in SERIES:
        for statement in (EXTREMES_OF_BLOCK, KEEP, *TRIGGERS):
            op.execute(statement.format(**series))
    with outside_a_transaction():
        for series in SERIES:
            _fill(sa.text(FILL.format(**series)))


def _fill(statement: sa.TextClause) -> None:
    """Write the extremes of the steps that were there before the triggers."""
    last: str | None = ""
    while last is not None:
        last = op.get_bind().scalar(statement, {"after": last, "most": BATCH})


def downgrade() -> None:
    for series in SERIES:
        for change in ("inserted", "updated", "deleted"):
            op.execute(f"DROP TRIGGER keep_extremes_{change} ON {series['table']}")
        op.execute(f"DROP FUNCTION keep_extremes_of_{series['table']}()")
        op.execute(f"DROP FUNCTION extremes_of_{series['table']}(text, integer, integer)")
    op.execute("DROP FUNCTION values_of_step(integer, jsonb)")
    op.drop_table("metric_extremes")
