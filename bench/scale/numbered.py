"""SQL functions that say everything about a row by its number, so that no statement has to look it up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core.catalog import SMOLLM2
from core.jobs.search import LEARNING_RATE, CandidateSearch, CandidateSpec
from core.jobs.spec import Hyperparameters, JobSpec

DAYS = 365
FILES_OF_A_PROJECT = 250
LONG_JOBS = 10
LONG_STEPS = 100_000  # of each of these jobs, and of the candidates of some sweeps
FULL_DATA = 500  # every FULL_DATA-th job has metrics, and its events have data

# The data of step n, as wide as that of a worker
VALUES = """
    jsonb_build_object('step', n, 'total_steps', CAST({total} AS int),
        'train_loss', 0.5 + 2 * exp(-n / 20000.0) + 0.2 * random(), 'train_mean_token_accuracy', random(),
        'learning_rate', 1e-4, 'grad_norm', random(), 'tokens_per_second', 900 + 100 * random(),
        'trained_seconds', 0.25 * n, 'trained_tokens', 237 * n, 'trainer_memory_bytes', 4225000000,
        'valid_loss', CASE WHEN n % 250 = 0 THEN 1 + random() END,
        'valid_mean_token_accuracy', CASE WHEN n % 250 = 0 THEN random() END,
        'full_valid_loss', CASE WHEN n % 1000 = 0 THEN 1 + random() END,
        'full_valid_mean_token_accuracy', CASE WHEN n % 1000 = 0 THEN random() END)
"""

NAMES = (
    *("support", "tickets", "invoices", "reviews", "contracts", "notes", "summaries", "labels", "answers"),
    *("german", "french", "formal", "short", "triage", "routing", "billing", "safety", "tone", "faq", "sql"),
)


@dataclass(frozen=True)
class Size:
    """How many rows to make. Job numbers begin at 1, and the last ones have not ended."""

    jobs: int
    events: int
    projects: int = 200

    @property
    def long_events(self) -> int:
        """The events of each of the LONG_JOBS jobs beyond those of every job."""
        return self.events // 100 // LONG_JOBS

    @property
    def events_of_a_job(self) -> int:
        return (self.events - LONG_JOBS * self.long_events) // self.jobs

    @property
    def queued(self) -> int:
        return max(250, self.jobs // 500)

    @property
    def running(self) -> int:
        return max(10, self.jobs // 5000)

    @property
    def paused(self) -> int:
        return max(10, self.jobs // 2000)


FUNCTIONS = """
CREATE FUNCTION pg_temp.moment(n numeric) RETURNS timestamptz LANGUAGE sql STABLE
    RETURN '{began}'::timestamptz + interval '1 ms' * (n * {year} / {jobs})::float8;
CREATE FUNCTION pg_temp.uuid(ms bigint, n bigint, kind int) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN lpad(to_hex({began_ms} + ms), 12, '0') || '7000'
        || lpad(to_hex(hashint8extended(n, kind)), 16, '0');
CREATE FUNCTION pg_temp.dice(n bigint, kind int, sides int) RETURNS int LANGUAGE sql IMMUTABLE
    RETURN (hashint8extended(n, kind) & 1048575)::int % sides;
CREATE FUNCTION pg_temp.job_id(n bigint) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN 'ftjob-' || pg_temp.uuid(n * ({year} / {jobs}), n, 1);
CREATE FUNCTION pg_temp.project_number(n bigint) RETURNS int LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN n % 8 = 1 THEN 0
        ELSE 1 + floor(({projects} - 1) * (pg_temp.dice(n, 2, 65536) / 65536.0) ^ 2)::int END;
CREATE FUNCTION pg_temp.project_id(p int) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN 'proj_' || lpad(to_hex(p), 32, '0');
CREATE FUNCTION pg_temp.file_id(p int, n bigint) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN 'file-' || pg_temp.uuid(n % {files}, n % {files} * 1000 + p, 3);
CREATE FUNCTION pg_temp.job_status(n bigint) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN CASE
        WHEN n > {jobs} - {queued} THEN 'queued'
        WHEN n > {jobs} - {queued} - {running} THEN 'running'
        WHEN n > {jobs} - {queued} - {running} - {paused} THEN 'paused'
        WHEN n % {long_each} = 1 OR pg_temp.dice(n, 4, 100) < 80 THEN 'succeeded'
        WHEN pg_temp.dice(n, 4, 100) < 90 THEN 'failed'
        ELSE 'cancelled' END;
CREATE FUNCTION pg_temp.word(n bigint, kind int) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN (ARRAY{words})[1 + pg_temp.dice(n, kind, {word_count})];
CREATE FUNCTION pg_temp.is_sweep(n bigint) RETURNS bool LANGUAGE sql IMMUTABLE RETURN n % 1000 = 9;
CREATE FUNCTION pg_temp.spec(n bigint) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN pg_temp.is_sweep(n) THEN '{sweep}'::jsonb ELSE '{spec}'::jsonb END;
"""


def functions(size: Size, began: datetime) -> str:
    """Return the statements that make the functions, for one session. Postgres writes them into each query.

    The ids have the form and the order in time of real ids. A year lies between the first job, which began at
    `began`, and the last. An eighth of all jobs belongs to project 0; the others are spread unevenly.
    """
    hyperparameters = Hyperparameters(n_epochs=3, batch_size=4, learning_rate_multiplier=1.0)
    spec = JobSpec(base_model=SMOLLM2.id, seed=1, hyperparameters=hyperparameters)
    rates = [1e-4, 3e-4]
    candidates = [CandidateSpec(adapter=spec.adapter, learning_rate=rate) for rate in rates]
    search = CandidateSearch(kind="sweep", parameters={LEARNING_RATE: rates}, candidates=candidates)
    return FUNCTIONS.format(
        began=began.isoformat(),
        began_ms=int(began.timestamp() * 1000),
        year=f"{DAYS * 86_400_000}::bigint",
        jobs=size.jobs,
        projects=size.projects,
        files=FILES_OF_A_PROJECT,
        queued=size.queued,
        running=size.running,
        paused=size.paused,
        long_each=size.jobs // LONG_JOBS,
        words=list(NAMES),
        word_count=len(NAMES),
        spec=spec.model_dump_json(),
        sweep=spec.model_copy(update={"search": search}).model_dump_json(),
    )
