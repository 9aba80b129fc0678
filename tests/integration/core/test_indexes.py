"""What is asked often, or under a lock, reads no whole table: its plans, on a hundred thousand jobs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from api.adapters import queries as adapters
from api.evals import queries as evals
from api.files import queries as files
from api.jobs import queries
from api.jobs.events import queries as events
from api.jobs.events.feed import Cursor, news_of
from api.jobs.metrics import queries as metrics
from api.jobs.queries import Filter
from api.stored_completions import queries as completions
from api.stored_completions.queries import Selection
from api.workers import queries as workers
from core.access.usage import usage
from core.artifacts import stored_bytes
from core.database import create_database, session_factory
from core.jobs import lifecycle, queue
from core.jobs.lineage import continues_from, refuse_if_continued
from core.serving import stored_completions
from core.tables import Event, StoredCompletion
from core.work.lease import take, waiting_kinds
from worker.supervisor.removal import delete_in_batches
from worker.supervisor.retention import remove_old_deliveries

pytestmark = pytest.mark.slow

JOBS = 100_000
WAITING = 200
LARGE = ("files", "jobs", "job_names", "runs", "events", "webhook_deliveries", "stored_completions")
EVERYTHING = Filter({}, without_metadata=False)

FILL = f"""
INSERT INTO projects (id, name) SELECT 'proj_' || n, 'project ' || n FROM generate_series(1, 10) n;
INSERT INTO files (id, project_id, filename, purpose, bytes, sha256, object_key)
    SELECT 'file-' || n, 'proj_' || n % 10 + 1, 'f', 'fine-tune', 1, '', '' FROM generate_series(1, 10000) n;
DROP INDEX ix_job_names_terms; -- the rows of all jobs at once are quicker than a row and its terms for each
ALTER TABLE jobs DISABLE TRIGGER keep_names_of_job;
INSERT INTO jobs (
        id, project_id, base_model, training_file_id, spec, status, finished_at, fence, client_metadata
    )
    SELECT
        'ftjob-' || lpad(n::text, 8, '0'), 'proj_' || n % 10 + 1, 'tiny', 'file-' || n % 10000 + 1, '{{}}',
        CASE WHEN n > {JOBS - WAITING} THEN 'queued' ELSE 'cancelled' END,
        CASE WHEN n > {JOBS - WAITING} THEN NULL ELSE now() END,
        CASE WHEN n > {JOBS - WAITING} THEN 0 ELSE 1 END,
        jsonb_build_object('number', n::text)
    FROM generate_series(1, {JOBS}) n;
INSERT INTO job_names (job_id, project_id, names) SELECT id, project_id, names_of_job(jobs) FROM jobs;
CREATE INDEX ix_job_names_terms ON job_names USING gin (job_search_terms(project_id, names));
INSERT INTO runs (job_id, fence, owner, token, expires_at, ended_at, outcome, counted)
    SELECT id, 1, 'a trainer', id, now(), now(), 'cancelled', true FROM jobs WHERE status = 'cancelled';
INSERT INTO events (id, job_id, level, type, message)
    SELECT 'ftevent-' || id, id, 'info', 'message', '' FROM jobs;
INSERT INTO events (id, job_id, level, type, message)
    SELECT 'ftevent-of-a-long-job-' || n, 'ftjob-00000001', 'info',
        CASE WHEN n % 5000 = 0 THEN 'samples' ELSE 'metrics' END, ''
    FROM generate_series(1, 20000) n;
INSERT INTO webhook_endpoints (id, project_id, name, url, event_types, sealed_secret, secret_hint)
    VALUES ('whe_1', 'proj_1', '', 'https://example.com', '{{}}', '', '');
INSERT INTO webhook_deliveries (
        id, endpoint_id, event_type, payload, status, attempts, next_attempt_at, last_attempt_at
    )
    SELECT 'whd_' || id, 'whe_1', 'fine_tuning.job.cancelled', '{{}}', 'delivered', 1, NULL, now()
    FROM jobs WHERE status = 'cancelled';
INSERT INTO stored_completions (
        id, project_id, model, request, answer, prompt_sha256, client_metadata, rating, rated_at, bytes
    )
    SELECT
        'chatcmpl-' || lpad(n::text, 8, '0'), 'proj_' || n % 10 + 1, 'model-' || n % 5, '{{}}', '{{}}',
        (n % 1000)::text, jsonb_build_object('number', n::text),
        CASE WHEN n % 500 = 0 THEN 'up' WHEN n % 500 = 10 THEN 'down' END,
        CASE WHEN n % 500 IN (0, 10) THEN now() END, 1000
    FROM generate_series(1, 50000) n;
INSERT INTO completion_bytes (project_id, bytes) SELECT id, 5000000 FROM projects;
ANALYZE
"""


@pytest.fixture(scope="module")
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_database(database_url)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(FILL))
    yield engine
    engine.dispose()


NEWEST = f"ftjob-{JOBS:08}"
LONG = "ftjob-00000001"  # a job with many events
OF_NEWEST = "proj_1"  # JOBS is a multiple of ten

ASKED: dict[str, Callable[[Session], Any]] = {
    "a poll": lambda session: queries.find_row(session, OF_NEWEST, NEWEST),
    "the first page of jobs": lambda session: queries.page(
        session, OF_NEWEST, EVERYTHING, after=None, limit=20
    ),
    "a later page of jobs": lambda session: queries.page(
        session, OF_NEWEST, EVERYTHING, after="ftjob-00050000", limit=20
    ),
    "jobs by metadata": lambda session: queries.page(
        session, OF_NEWEST, Filter({"number": "77770"}, without_metadata=False), after=None, limit=20
    ),
    "jobs of a status": lambda session: queries.page(
        session, OF_NEWEST, EVERYTHING._replace(status="queued"), after=None, limit=20
    ),
    "jobs of a status that none has": lambda session: queries.page(
        session, OF_NEWEST, EVERYTHING._replace(status="failed"), after=None, limit=20
    ),
    "jobs by file": lambda session: queries.page(
        session, OF_NEWEST, EVERYTHING._replace(file_id="file-7"), after=None, limit=20
    ),
    "the jobs that continue from an adapter": lambda session: adapters.descendants(
        session, OF_NEWEST, "adapter-1", after=None, limit=20
    ),
    "jobs by words that few of them have": lambda session: queries.page(
        session, OF_NEWEST, EVERYTHING._replace(words=("77770", "tiny")), after=None, limit=20
    ),
    "the workers and the queue": lambda session: (
        workers.held_jobs(session, OF_NEWEST),
        workers.held_counts(session),
        workers.waiting_counts(session, OF_NEWEST),
        workers.waiting_jobs(session, OF_NEWEST, 1, 20),
    ),
    "a page of events": lambda session: events.page(session, NEWEST, after=10**9, limit=20),
    "a page of the events of a type": lambda session: events.page(
        session, LONG, after=10**9, limit=20, type="samples"
    ),
    "all positions in the queue": lambda session: session.execute(queue.positions()).all(),
    "a page of files": lambda session: files.page(
        session, OF_NEWEST, None, after="file-5", limit=20, newest_first=True
    ),
    "a job that may still read a file": lambda session: files.unfinished_job_with(
        session, OF_NEWEST, "file-7"
    ),
    "the usage of a project": lambda session: usage(session, OF_NEWEST, date(2026, 1, 1), date(2026, 12, 31)),
    "the bytes that a project stores": lambda session: stored_bytes(session, OF_NEWEST),
    "the sweep": lambda session: (
        lifecycle.lose_expired_claims(session, 5),
        queue.jobs_wait(session, None),
    ),
    "the feed of events": lambda session: session.execute(
        news_of([Cursor(f"ftjob-{number:08}", 0) for number in range(1, 301)])
    ).all(),
    "the removal of a deleted job's events": lambda session: delete_in_batches(
        session_factory(session.get_bind()), Event, Event.job_id == NEWEST
    ),
    "the removal of old deliveries": lambda session: remove_old_deliveries(
        session_factory(session.get_bind())
    ),
    "a page of stored completions": lambda session: completions.page(
        session, OF_NEWEST, Selection(), after="chatcmpl-00025000", limit=20
    ),
    "stored completions by metadata": lambda session: completions.page(
        session, OF_NEWEST, Selection(metadata={"number": "7770"}), after=None, limit=20
    ),
    "stored completions of a model": lambda session: completions.page(
        session, OF_NEWEST, Selection(model="model-0"), after=None, limit=20
    ),
    "stored completions of a model that there is none of": lambda session: completions.page(
        session, OF_NEWEST, Selection(model="no model"), after=None, limit=20
    ),
    "rated completions, with better answers": lambda session: completions.with_liked(
        session, completions.page(session, OF_NEWEST, Selection(rating="down"), after=None, limit=20)[0]
    ),
    "the removal of old completions": lambda session: stored_completions.remove(
        session, OF_NEWEST, StoredCompletion.id < "chatcmpl-00000100"
    ),
    "a claim": lambda session: lifecycle.claim(session, "a trainer", 60.0, project_jobs=3),
}


@pytest.mark.parametrize("name", ASKED)
def test_no_large_table_is_read_whole(engine: Engine, name: str) -> None:
    with session_factory(engine)() as session:
        with asked_in(engine) as statements:
            ASKED[name](session)
        assert statements
        for statement, parameters in statements:
            if statement.startswith(("SELECT", "WITH", "UPDATE", "DELETE")):
                plan = session.connection().exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
                assert not set(read_whole(plan.scalar_one()[0]["Plan"])) & set(LARGE), statement


def test_a_page_of_the_events_of_a_type_passes_over_no_other_event(engine: Engine) -> None:
    with session_factory(engine)() as session:
        with asked_in(engine) as statements:
            assert len(events.page(session, LONG, after=None, limit=20, type="samples")[0]) == 4
        assert passed_over(session, statements) == []


def test_the_deletion_of_an_adapter_passes_over_no_job_that_does_not_continue_from_it(engine: Engine) -> None:
    with session_factory(engine)() as session:
        with asked_in(engine) as statements:
            refuse_if_continued(session, OF_NEWEST, continues_from("adapter-1"))
        assert passed_over(session, statements) == []


RESULT_FILES = """
INSERT INTO files (id, project_id, filename, purpose, bytes, sha256, object_key)
    SELECT 'file-x' || n, 'proj_1', 'f', 'fine-tune-results', 1, '', '' FROM generate_series(1, 20000) n
"""


def test_a_page_of_the_files_of_a_purpose_passes_over_no_other_file(engine: Engine) -> None:
    with session_factory(engine)() as session:
        session.execute(text(RESULT_FILES))
        session.execute(text("ANALYZE files"))
        with asked_in(engine) as statements:
            found, _ = files.page(session, "proj_1", "fine-tune", after=None, limit=20, newest_first=True)
        assert len(found) == 20
        assert passed_over(session, statements) == []


MANY_WAITING = """
INSERT INTO jobs (id, project_id, base_model, training_file_id, spec, status)
    SELECT 'ftjob-x' || lpad(n::text, 8, '0'), 'proj_' || n % 10 + 1, 'tiny', 'file-1', '{}', 'queued'
    FROM generate_series(1, 20000) n
"""
ROWS_OF_A_CLAIM = 200


def test_a_claim_reads_a_few_rows_of_each_project_however_many_jobs_wait(engine: Engine) -> None:
    with session_factory(engine)() as session:
        session.execute(text(MANY_WAITING))
        with asked_in(engine) as statements:
            assert lifecycle.claim(session, "a trainer", 60.0, project_jobs=3, passed_over=["ftjob-x"])
        read = 0.0
        for statement, parameters in statements:
            if statement.startswith(("SELECT", "WITH")):
                explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
                plan = session.connection().exec_driver_sql(explained, parameters).scalar_one()[0]["Plan"]
                read += rows_read(plan, "jobs")
        assert 0 < read < ROWS_OF_A_CLAIM


MANY_KEPT = """
INSERT INTO tasks (id, project_id, kind, request, status, started_at, held_until, finished_at)
    SELECT 'evalrun-' || lpad(n::text, 8, '0'), 'proj_' || n % 10 + 1, 'evalrun', '{}',
        CASE WHEN n > 19900 THEN 'queued' ELSE 'succeeded' END,
        CASE WHEN n > 19900 THEN NULL ELSE now() END, CASE WHEN n > 19900 THEN NULL ELSE now() END,
        CASE WHEN n > 19900 THEN NULL ELSE now() END
    FROM generate_series(1, 20000) n
"""
ROWS_OF_A_TASK = 2_000  # ten projects have ten waiting tasks each, and 1,990 that have ended


JUDGED = """
INSERT INTO evals (id, project_id, name, data_source_config, criteria)
    SELECT 'eval-' || n, 'proj_1', 'eval', '{}', '[]' FROM generate_series(1, 2000) n;
INSERT INTO tasks (id, project_id, kind, eval_id, request, status, finished_at)
    SELECT 'evalrun-j' || n, 'proj_1', 'evalrun', 'eval-' || n,
        jsonb_build_object('model', 'model-' || n % 500), 'succeeded', now()
    FROM generate_series(1, 2000) n
"""


def test_the_evals_of_a_model_are_found_without_the_runs_of_others(engine: Engine) -> None:
    with session_factory(engine)() as session:
        session.execute(text(JUDGED))
        session.execute(text("ANALYZE evals, tasks"))
        with asked_in(engine) as statements:
            evals.page(
                session,
                evals.Wanted("proj_1", model="model-7"),
                by_change=False,
                after=None,
                limit=20,
                newest_first=True,
            )
        statement, parameters = statements[0]
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
        plan = session.connection().exec_driver_sql(explained, parameters).scalar_one()[0]["Plan"]
        assert rows_read(plan, "tasks") == 4


def test_the_next_task_is_found_without_those_that_are_kept(engine: Engine) -> None:
    with session_factory(engine)() as session:
        session.execute(text(MANY_KEPT))
        session.execute(text("ANALYZE tasks"))
        with asked_in(engine) as statements:
            assert take(session, "a process", ["evalrun"])
        statement, parameters = next(each for each in statements if "FROM tasks" in each[0])
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
        plan = session.connection().exec_driver_sql(explained, parameters).scalar_one()[0]["Plan"]
        assert 0 < rows_read(plan, "tasks") < ROWS_OF_A_TASK


TRACKED = """
INSERT INTO tasks (id, project_id, kind, job_id, request, status)
    SELECT 'tracking-' || lpad(n::text, 8, '0'), 'proj_1', 'tracking', id, '{}', 'queued'
    FROM (SELECT id, row_number() OVER () AS n FROM jobs WHERE status = 'queued') AS waiting;
INSERT INTO tasks (id, project_id, kind, request, status)
    SELECT 'tracking-x' || n, 'proj_1', 'tracking', '{}', 'queued' FROM generate_series(1, 20000) n;
INSERT INTO tasks (id, project_id, kind, request, status, holder, held_until)
    SELECT 'export-x' || n, 'proj_1', 'export', '{}', 'running', 'a process', now() + interval '1 hour'
    FROM generate_series(1, 1000) n;
"""


def test_a_look_for_tasks_passes_over_no_open_task_that_may_not_be_taken(engine: Engine) -> None:
    with session_factory(engine)() as session:
        session.execute(text(TRACKED))
        session.execute(text("ANALYZE tasks"))
        with asked_in(engine) as statements:
            assert waiting_kinds(session) == set()
        ((statement, parameters),) = statements
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
        plan = session.connection().exec_driver_sql(explained, parameters).scalar_one()[0]["Plan"]
        assert rows_read(plan, "tasks") <= 1, "the first of the running exports"


STEPS = 20_000
A_LONG_SERIES = f"""
INSERT INTO metrics (job_id, step, data)
    SELECT '{LONG}', n, jsonb_build_object('train_loss', random()) FROM generate_series(1, {STEPS}) n;
ANALYZE metrics, metric_extremes
"""


def test_a_thinned_series_reads_few_of_its_steps(engine: Engine) -> None:
    with session_factory(engine)() as session:
        session.execute(text(A_LONG_SERIES))
        with asked_in(engine) as statements:
            found = metrics.read(session, LONG, metrics.Wanted(None, 77, STEPS, limit=1, points=200))
        assert found.thinned
        read = 0.0
        for statement, parameters in statements:
            if statement.startswith("SET"):
                continue
            plan = session.connection().exec_driver_sql(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
            )
            read += rows_read(plan.scalar_one()[0]["Plan"], "metrics")
        assert len(found.steps) < read < STEPS / 20


@contextmanager
def asked_in(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are sent meanwhile, with their parameters."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


def passed_over(session: Session, statements: list[tuple[str, Any]]) -> list[str]:
    """The parts of the statements' plans that read rows and then leave them out."""
    plans = []
    for statement, parameters in statements:
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
        plans.append(session.connection().exec_driver_sql(explain, parameters).scalar_one()[0]["Plan"])
    return [node["Node Type"] for plan in plans for node in nodes(plan) if node.get("Rows Removed by Filter")]


def rows_read(plan: dict[str, Any], table: str) -> float:
    """The rows of a table that were read for a plan, also those that a filter then removed."""
    rows = 0.0
    if plan.get("Relation Name") == table:
        rows = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return rows + sum(rows_read(below, table) for below in plan.get("Plans", ()))


def read_whole(plan: dict[str, Any]) -> Iterator[str]:
    """The tables that a plan scans from end to end."""
    return (node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)
