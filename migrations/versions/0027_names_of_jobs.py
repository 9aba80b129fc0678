"""all names of each job in one text, with an index of their trigrams, for the search of jobs"""

import sqlalchemy as sa
from alembic import op

from core.schema import outside_a_transaction

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

BATCH = 10_000

# The project, and each trigram of the words. One expression cuts them from the first letter on, one from the
# second, one from the third. That is six times as quick as to cut them one by one.
CUT = r"trim_array(string_to_array(regexp_replace({}, '(...)', E'\\1\n', 'g') || E'\n', E'\n'), 2)"
TERMS = f"""
CREATE OR REPLACE FUNCTION job_search_terms(project_id text, words text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT
        {CUT.format("words")}
        || {CUT.format("substr(words, 2)")}
        || {CUT.format("substr(words, 3)")}
        || project_id
$$
"""
# A deleted file keeps its name
NAMES_OF_JOB = """
CREATE OR REPLACE FUNCTION names_of_job(job jobs) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT lower(concat_ws(' ',
        job.id, job.suffix, job.base_model, job.fine_tuned_model, job.client_metadata,
        job.spec->'adapter'->>'type', job.spec->'objective'->>'type',
        training.id, training.filename, validation.id, validation.filename
    ))
    FROM files AS training LEFT JOIN files AS validation ON validation.id = job.validation_file_id
    WHERE training.id = job.training_file_id
$$
"""
KEEP_NAMES = """
CREATE OR REPLACE FUNCTION keep_names_of_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_names (job_id, project_id, names) VALUES (NEW.id, NEW.project_id, names_of_job(NEW))
    ON CONFLICT (job_id) DO UPDATE SET names = excluded.names;
    RETURN NULL;
END $$
"""
TRIGGER = """
CREATE OR REPLACE TRIGGER keep_names_of_job
AFTER INSERT OR UPDATE OF suffix, client_metadata, fine_tuned_model ON jobs
FOR EACH ROW EXECUTE FUNCTION keep_names_of_job()
"""
FILL = sa.text("""
WITH batch AS (SELECT jobs FROM jobs WHERE id > :after ORDER BY id LIMIT :most),
filled AS (
    INSERT INTO job_names (job_id, project_id, names)
    SELECT (jobs).id, (jobs).project_id, names_of_job(jobs) FROM batch
    ON CONFLICT (job_id) DO NOTHING
)
SELECT max((jobs).id) FROM batch
""")


def upgrade() -> None:
    # If what is outside of the transaction is cut off, this migration begins again
    op.create_table(
        "job_names",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("names", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_names_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_names")),
        if_not_exists=True,
    )
    for statement in (TERMS, NAMES_OF_JOB, KEEP_NAMES, TRIGGER):
        op.execute(statement)
    with outside_a_transaction():
        _fill()
        # An attempt that was cut off leaves an index that Postgres marks as invalid
        op.drop_index(
            "ix_job_names_terms", table_name="job_names", postgresql_concurrently=True, if_exists=True
        )
        op.create_index(
            "ix_job_names_terms",
            "job_names",
            [sa.text("job_search_terms(project_id, names)")],
            postgresql_using="gin",
            postgresql_concurrently=True,
        )


def _fill() -> None:
    """Write the names of the jobs that were there before the trigger."""
    last: str | None = ""
    while last is not None:
        last = op.get_bind().scalar(FILL, {"after": last, "most": BATCH})


def downgrade() -> None:
    op.execute("DROP TRIGGER keep_names_of_job ON jobs")
    op.drop_table("job_names")
    for function in ("keep_names_of_job()", "names_of_job(jobs)", "job_search_terms(text, text)"):
        op.execute(f"DROP FUNCTION {function}")
