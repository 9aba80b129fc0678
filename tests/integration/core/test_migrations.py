"""The migrations, and what the database refuses whatever the code does."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, text, update
from sqlalchemy.exc import IntegrityError
from structlog.testing import capture_logs

from core import schema
from core.database import SESSION_SETTINGS, create_database
from core.errors import ConfigurationError
from core.jobs.lifecycle import TRANSITIONS
from core.schema import BEHIND, migrate, what_is_wrong
from core.statuses import ENDED
from core.tables import Base, Job
from tests.fixtures.paths import REPOSITORY
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.releases import EXPANDED, newer_migrations
from tests.fixtures.service.servers import database_on

# Constraints, indexes, columns and their defaults, functions and triggers, as Postgres itself words them.
CONSTRAINTS = "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint \
    WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
COLUMNS = "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity \
    FROM information_schema.columns WHERE table_schema = 'public'"
FUNCTIONS = "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
TRIGGERS = "SELECT tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
TYPES = "SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')"
OF_MODELS = (CONSTRAINTS, INDEXES, COLUMNS)
WHOLE = (*OF_MODELS, FUNCTIONS, TRIGGERS, TYPES)


def described(engine: Engine, queries: tuple[str, ...] = WHOLE) -> dict[str, set[tuple[Any, ...]]]:
    """What stands in the database, but for Alembic's own table."""
    with engine.connect() as connection:
        return {
            query: {tuple(row) for row in connection.execute(text(query)) if "alembic_version" not in row}
            for query in queries
        }


def create_like(empty: Engine, migrated: Engine) -> None:
    """Create the tables of the models. The function that an index calls is that of the migrations."""
    with migrated.connect() as connection:
        function = connection.scalar(text("SELECT pg_get_functiondef('job_search_terms'::regproc)"))
    with empty.begin() as connection:
        connection.exec_driver_sql(function)
    Base.metadata.create_all(empty)


@pytest.fixture
def new_database(servers: Any) -> Iterator[Callable[[], Engine]]:
    """Makes empty databases, each with an engine of its own."""
    with ExitStack() as made:

        def make() -> Engine:
            engine = create_database(made.enter_context(database_on(servers)))
            made.callback(engine.dispose)
            return engine

        yield make


@pytest.fixture
def new_url(servers: Any) -> Iterator[str]:
    """Yield the URL of an empty database."""
    with database_on(servers) as url:
        yield url


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The migrations of a newer release."""
    return newer_migrations(tmp_path / "migrations")


@pytest.fixture
def behind(new_database: Callable[[], Engine], newer: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A database that lacks the newest migration, since this process is the newer release from now on."""
    engine = new_database()
    migrate(engine)
    monkeypatch.setattr(schema, "MIGRATIONS", newer)
    return engine


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """Of a migrated database; what a test writes is taken back."""
    engine = create_database(database_url)
    with engine.connect() as connection:
        yield connection
        connection.rollback()
    engine.dispose()


@contextmanager
def refused(connection: Connection, words: str) -> Iterator[None]:
    """The database refuses what happens in the block, and the transaction can go on."""
    with pytest.raises(IntegrityError, match=words), connection.begin_nested():
        yield


@pytest.fixture
def job(connection: Connection) -> str:
    """The id of a queued job."""
    return add_job(connection)


def add_job(connection: Connection) -> str:
    for statement in (
        "INSERT INTO projects (id, name) VALUES ('proj_1', 'one')",
        """INSERT INTO files (id, project_id, filename, purpose, bytes, sha256, object_key)
           VALUES ('file-1', 'proj_1', 'train.jsonl', 'fine-tune', 1, '', 'files/file-1')""",
        """INSERT INTO jobs (id, project_id, base_model, training_file_id, spec, status)
           VALUES ('ftjob-1', 'proj_1', 'tiny', 'file-1', '{}', 'queued')""",
    ):
        connection.execute(text(statement))
    return "ftjob-1"


def move(connection: Connection, job: str, status: str) -> None:
    """With the columns that the new status demands, so that only the transition itself can be refused."""
    connection.execute(
        update(Job)
        .where(Job.id == job)
        .values(
            status=status,
            error={} if status == "failed" else None,
            fine_tuned_model="ft:tiny" if status == "succeeded" else None,
            finished_at=func.now() if status in ENDED else None,
        )
    )


def open_claim(connection: Connection, job: str, fence: int) -> None:
    connection.execute(
        text(
            "INSERT INTO runs (job_id, fence, owner, token, expires_at)"
            " VALUES (:job, :fence, 'test', :fence, now())"
        ),
        {"job": job, "fence": fence},
    )


def test_the_migrations_make_what_the_models_say(new_database: Callable[[], Engine]) -> None:
    migrated, created = new_database(), new_database()
    assert what_is_wrong(migrated) == BEHIND
    migrate(migrated)
    assert what_is_wrong(migrated) is None
    create_like(created, migrated)
    assert described(migrated, OF_MODELS) == described(created, OF_MODELS)


def test_migrating_twice_changes_nothing(new_database: Callable[[], Engine]) -> None:
    engine = new_database()
    migrate(engine)
    before = described(engine)
    migrate(engine)
    assert described(engine) == before


def test_a_database_that_is_behind_is_not_current_until_it_is_migrated(behind: Engine) -> None:
    before = described(behind)
    assert what_is_wrong(behind) == BEHIND
    migrate(behind)
    assert what_is_wrong(behind) is None
    assert described(behind) != before


def test_a_database_that_a_newer_release_has_migrated_is_current_and_not_ours_to_migrate(
    new_database: Callable[[], Engine], newer: Path
) -> None:
    engine = new_database()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", newer)
        migrate(engine)
    before = described(engine)
    assert what_is_wrong(engine) is None
    with pytest.raises(ConfigurationError, match=f"newer release .* to revision {EXPANDED}"):
        migrate(engine)
    assert described(engine) == before


@pytest.mark.exhaustive
def test_processes_that_migrate_at_once_wait_for_one_another(new_url: str) -> None:
    engine = create_database(new_url)
    environment = os.environ | {"TUNERY_DATABASE_URL": new_url}
    arguments = [sys.executable, "-m", "cli.main", "migrate"]
    processes = [subprocess.Popen(arguments, env=environment, cwd=REPOSITORY) for _ in range(3)]
    assert [process.wait(240) for process in processes] == [0, 0, 0]
    assert what_is_wrong(engine) is None
    engine.dispose()


def test_a_second_engine_migrates_while_the_first_one_keeps_its_connections(
    new_url: str,
) -> None:
    first = create_database(new_url)
    migrate(first)
    with first.connect() as connection:
        locks = connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
    assert locks == 0
    second = create_database(new_url)
    migrate(second)
    second.dispose()
    first.dispose()


@pytest.mark.slow
def test_a_migration_may_take_longer_than_other_statements(
    new_database: Callable[[], Engine], newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SESSION_SETTINGS, "statement_timeout", "1s")
    engine = new_database()
    migrate(engine)
    monkeypatch.setattr(schema, "MIGRATIONS", newer)
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            connection.execute(text("LOCK TABLE jobs"))
            migration = pool.submit(migrate, engine)
            with pytest.raises(TimeoutError):
                migration.result(1.5)
        migration.result(240)
    assert what_is_wrong(engine) is None


def test_a_migration_that_finds_a_table_locked_gives_up_changes_nothing_and_says_who_locks_it(
    behind: Engine,
) -> None:
    before = described(behind)
    with behind.begin() as holder:
        holder.execute(text("SET LOCAL application_name = 'a long report'"))
        holder.execute(text("SELECT count(*) FROM jobs"))
        process = holder.scalar(text("SELECT pg_backend_pid()"))
        with pytest.raises(ConfigurationError) as raised:
            migrate(behind, give_up_seconds=1.0)
    for words in (
        f"process {process}",
        "a long report",
        "idle in transaction",
        "jobs",
        "`tunery migrate` again",
    ):
        assert words in str(raised.value)
    assert described(behind) == before
    migrate(behind)
    assert what_is_wrong(behind) is None


def test_a_migration_that_waits_for_a_lock_lets_requests_pass_and_goes_on_once_it_is_free(
    behind: Engine,
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with capture_logs() as logs, behind.begin() as holder:
            holder.execute(text("SELECT count(*) FROM jobs"))
            migration = pool.submit(migrate, behind)
            wait_for(lambda: any(entry["event"] == "migration_waits" for entry in logs))
            with behind.connect() as request:
                request.execute(text("SET LOCAL statement_timeout = '5s'"))
                request.execute(text("SELECT count(*) FROM jobs"))
        migration.result(240)
    assert what_is_wrong(behind) is None


def test_an_index_whose_creation_was_cut_off_is_made_again(
    behind: Engine, new_database: Callable[[], Engine]
) -> None:
    with behind.begin() as connection:
        connection.execute(text("ALTER TABLE jobs ADD COLUMN colour varchar"))
        connection.execute(text("CREATE INDEX ix_jobs_colour ON jobs (id)"))
    migrate(behind)
    whole = new_database()
    migrate(whole)
    assert described(behind) == described(whole)


@pytest.mark.parametrize("old", TRANSITIONS)
@pytest.mark.parametrize("new", TRANSITIONS)
def test_the_database_knows_the_same_transitions_as_the_code(
    connection: Connection, job: str, old: str, new: str
) -> None:
    if old != "queued":
        if old != "cancelled":
            move(connection, job, "running")
        if old != "running":
            move(connection, job, old)
    if new == old or new in TRANSITIONS[old]:
        move(connection, job, new)
        return
    with refused(connection, f"no way leads from {old} to {new}"):
        move(connection, job, new)


def test_the_fence_never_falls(connection: Connection, job: str) -> None:
    connection.execute(text("UPDATE jobs SET fence = 3"))
    with refused(connection, "the fence may only rise"):
        connection.execute(text("UPDATE jobs SET fence = 2"))
    connection.execute(text("UPDATE jobs SET fence = 3"))
    connection.execute(text("UPDATE jobs SET fence = 4"))


def test_a_job_has_one_open_claim_at_most(connection: Connection, job: str) -> None:
    open_claim(connection, job, 1)
    with refused(connection, "uq_runs_open"):
        open_claim(connection, job, 2)
    connection.execute(text("UPDATE runs SET ended_at = now(), outcome = 'lost'"))
    open_claim(connection, job, 2)
    with refused(connection, "uq_runs_open"):
        connection.execute(text("UPDATE runs SET ended_at = NULL, outcome = NULL WHERE fence = 1"))


def test_an_ended_claim_says_how_it_ended(connection: Connection, job: str) -> None:
    open_claim(connection, job, 1)
    with refused(connection, "an_ended_run_has_an_outcome"):
        connection.execute(text("UPDATE runs SET ended_at = now()"))
    with refused(connection, "ck_runs_outcome"):
        connection.execute(text("UPDATE runs SET ended_at = now(), outcome = 'forgotten'"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("status = 'forgotten'", "no way leads|ck_jobs_status"),
        ("error = '{}'", "only_a_failed_job_has_an_error"),
        ("fine_tuned_model = 'ft:tiny'", "only_a_succeeded_job_has_a_model"),
        ("finished_at = now()", "ck_jobs_finished_at"),
    ],
)
def test_a_queued_job_has_none_of_the_marks_of_an_ended_one(
    connection: Connection, job: str, change: str, words: str
) -> None:
    with refused(connection, words):
        connection.execute(text(f"UPDATE jobs SET {change}"))


def test_a_checkpoint_belongs_to_a_claim_of_its_job_and_its_step_is_its_own(
    connection: Connection, job: str
) -> None:
    insert = """INSERT INTO checkpoints (id, job_id, fence, step, ends_epoch, metrics, object_prefix, files)
                VALUES (:id, :job, :fence, 1, true, '{}', '', '[]')"""
    with refused(connection, "fk_checkpoints_job_id_fence"):
        connection.execute(text(insert), {"id": "ftckpt-1", "job": job, "fence": 1})
    open_claim(connection, job, 1)
    connection.execute(text(insert), {"id": "ftckpt-1", "job": job, "fence": 1})
    with refused(connection, "uq_checkpoints_job_id_step"):
        connection.execute(text(insert), {"id": "ftckpt-2", "job": job, "fence": 1})


def test_the_audit_log_only_grows(connection: Connection, job: str) -> None:
    insert = """INSERT INTO audit_logs (id, project_id, action, resource_id)
                VALUES ('audit_log-1', 'proj_1', 'job.created', 'ftjob-1')"""
    connection.execute(text(insert))
    for change in ("UPDATE audit_logs SET action = 'x'", "DELETE FROM audit_logs", "TRUNCATE audit_logs"):
        with refused(connection, "append-only"):
            connection.execute(text(change))
