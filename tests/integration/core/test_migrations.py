"""The migrations, and what the database refuses whatever the code does."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, text, update
from sqlalchemy.exc import IntegrityError
from structlog.testing import capture_logs

from core import schema
from core.database import create_database
from core.errors import ConfigurationError
from core.jobs.lifecycle import TRANSITIONS
from core.schema import MIGRATIONS, alembic_config, is_current, migrate
from core.statuses import ENDED
from core.tables import Base, Job
from tests.fixtures.service.api import wait_for
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

REVISIONS = [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()][::-1]


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


@contextmanager
def making_databases(servers: Any) -> Iterator[Callable[[], Engine]]:
    with ExitStack() as made:

        def make() -> Engine:
            engine = create_database(made.enter_context(database_on(servers)))
            made.callback(engine.dispose)
            return engine

        yield make


@pytest.fixture
def new_database(servers: Any) -> Iterator[Callable[[], Engine]]:
    """Makes empty databases, each with an engine of its own."""
    with making_databases(servers) as make:
        yield make


class Ladder:
    """A database that climbs from one revision to the next, so that each is migrated once for all tests."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._make = make
        self._engine: Engine | None = None
        self._revision = ""

    def at(self, revision: str) -> Engine:
        """Return the database at this revision: a new one, unless the last test has left it there."""
        if self._engine is None or self._revision != revision:
            self._engine = self._make()
            if revision != "base":
                command.upgrade(alembic_config(self._engine), revision)
        self._revision = ""  # until the test has succeeded
        return self._engine

    def climbed_to(self, revision: str) -> None:
        self._revision = revision


@pytest.fixture(scope="module")
def ladder(servers: Any) -> Iterator[Ladder]:
    with making_databases(servers) as make:
        yield Ladder(make)


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


def open_run(connection: Connection, job: str, fence: int) -> None:
    connection.execute(
        text("INSERT INTO runs (job_id, fence, owner, expires_at) VALUES (:job, :fence, 'test', now())"),
        {"job": job, "fence": fence},
    )


def test_the_migrations_make_what_the_models_say(new_database: Callable[[], Engine]) -> None:
    migrated, created = new_database(), new_database()
    migrate(migrated)
    create_like(created, migrated)
    assert described(migrated, OF_MODELS) == described(created, OF_MODELS)


def test_alembic_finds_nothing_left_to_migrate(new_database: Callable[[], Engine]) -> None:
    engine = new_database()
    assert not is_current(engine)
    migrate(engine)
    assert is_current(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_migrating_twice_changes_nothing(new_database: Callable[[], Engine]) -> None:
    engine = new_database()
    migrate(engine)
    before = described(engine)
    migrate(engine)
    assert described(engine) == before


def test_a_database_that_is_behind_is_not_current(new_database: Callable[[], Engine]) -> None:
    engine = new_database()
    command.upgrade(alembic_config(engine), REVISIONS[-2])
    assert not is_current(engine)


@pytest.mark.slow
def test_a_database_that_a_newer_release_has_migrated_is_current_and_not_ours_to_migrate(
    new_database: Callable[[], Engine],
) -> None:
    engine = new_database()
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert is_current(engine)
    environment = os.environ | {"TUNERY_DATABASE_URL": engine.url.render_as_string(hide_password=False)}
    arguments = [sys.executable, "-m", "cli.main", "migrate"]
    ended = subprocess.run(
        arguments, env=environment, cwd=MIGRATIONS.parent, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "newer release" in ended.stderr
    assert "9999" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_migration_can_be_undone_and_done_again(ladder: Ladder, revision: str) -> None:
    engine = ladder.at(below(revision))
    config = alembic_config(engine)
    before = described(engine)
    command.upgrade(config, revision)
    after = described(engine)
    assert before != after
    command.downgrade(config, below(revision))
    assert described(engine) == before
    command.upgrade(config, revision)
    assert described(engine) == after
    ladder.climbed_to(revision)


def test_the_best_loss_of_earlier_jobs_is_taken_from_their_checkpoints(
    new_database: Callable[[], Engine],
) -> None:
    engine = new_database()
    command.upgrade(alembic_config(engine), "0016")
    with engine.begin() as connection:
        add_job(connection)
        open_run(connection, "ftjob-1", 1)
        connection.execute(text("UPDATE jobs SET fence = 1"))
        for step, loss in ((1, "2.5"), (2, "1.5"), (3, "null"), (4, "1.5")):
            connection.execute(
                text(
                    "INSERT INTO checkpoints"
                    " (id, job_id, fence, step, ends_epoch, metrics, object_prefix, files)"
                    " VALUES (:id, 'ftjob-1', 1, :step, true, CAST(:metrics AS jsonb), '', '[]')"
                ),
                {"id": f"ftckpt-{step}", "step": step, "metrics": f'{{"full_valid_loss": {loss}}}'},
            )
    migrate(engine)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT best_valid_loss, best_step FROM runs")).one()
    assert tuple(found) == (1.5, 2)


def test_an_imported_adapter_keeps_its_origin_and_a_composed_one_goes_with_the_downgrade(
    new_database: Callable[[], Engine],
) -> None:
    engine = new_database()
    config = alembic_config(engine)
    command.upgrade(config, "0031")
    add = "INSERT INTO adapters (id, project_id, model, base_model, options, {column}, object_prefix, files, \
        training) VALUES (:id, 'p', :id, 'tiny', '{{}}', :origin, '', '[]', '{{}}')"
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO projects (id, name) VALUES ('p', 'p')"))
        imported = {"id": "imported", "origin": '{"format": "peft", "bytes": 7}'}
        connection.execute(text(add.format(column="imported")), imported)
    command.upgrade(config, "0032")
    with engine.begin() as connection:
        origin = connection.scalar(text("SELECT origin FROM adapters"))
        composed = {"id": "composed", "origin": '{"type": "composition", "bytes": 1}'}
        connection.execute(text(add.format(column="origin")), composed)
        columns, row = (
            "id, project_id, kind, request, adapter_id",
            "'t', 'p', 'composition', '{}', 'composed'",
        )
        connection.execute(text(f"INSERT INTO tasks ({columns}) VALUES ({row})"))
    assert origin == {"type": "import", "format": "peft", "bytes": 7}
    command.downgrade(config, "0031")
    with engine.connect() as connection:
        left = connection.execute(text("SELECT id, imported FROM adapters")).all()
    assert left == [("imported", {"format": "peft", "bytes": 7})]


def test_a_downgrade_to_the_base_leaves_nothing_behind(new_database: Callable[[], Engine]) -> None:
    engine = new_database()
    migrate(engine)
    command.downgrade(alembic_config(engine), "base")
    assert described(engine) == {query: set() for query in WHOLE}


@pytest.mark.slow
def test_processes_that_migrate_at_once_wait_for_one_another(new_database: Callable[[], Engine]) -> None:
    engine = new_database()
    environment = os.environ | {"TUNERY_DATABASE_URL": engine.url.render_as_string(hide_password=False)}
    arguments = [sys.executable, "-m", "cli.main", "migrate"]
    processes = [subprocess.Popen(arguments, env=environment, cwd=MIGRATIONS.parent) for _ in range(3)]
    assert [process.wait(240) for process in processes] == [0, 0, 0]
    assert is_current(engine)


def test_a_second_engine_migrates_while_the_first_one_keeps_its_connections(
    new_database: Callable[[], Engine],
) -> None:
    first = new_database()
    migrate(first)
    with first.connect() as connection:
        locks = connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
    assert locks == 0
    second = create_database(first.url.render_as_string(hide_password=False))
    migrate(second)
    second.dispose()


@pytest.mark.slow
def test_a_migration_may_take_longer_than_other_statements(
    new_database: Callable[[], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.database.STATEMENT_TIMEOUT", 1)
    engine = new_database()
    migrate(engine)
    command.downgrade(alembic_config(engine), "base")
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            connection.execute(text("LOCK TABLE alembic_version"))
            migration = pool.submit(migrate, engine)
            with pytest.raises(TimeoutError):
                migration.result(1.5)
        migration.result(240)
    assert is_current(engine)


def below(revision: str) -> str:
    found = ScriptDirectory(str(MIGRATIONS)).get_revision(revision).down_revision or "base"
    assert isinstance(found, str)
    return found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration gives up after a third of a second, in two or three attempts."""
    for name, value in {"LOCK_TIMEOUT": 100, "PAUSE_SECONDS": 0.05, "GIVE_UP_SECONDS": 0.3}.items():
        monkeypatch.setattr(schema, name, value)


def test_a_migration_that_finds_a_table_locked_gives_up_changes_nothing_and_says_who_locks_it(
    new_database: Callable[[], Engine], impatient: None
) -> None:
    engine = new_database()
    command.upgrade(alembic_config(engine), below("0022"))
    before = described(engine)
    with engine.begin() as holder:
        holder.execute(text("SET LOCAL application_name = 'a long report'"))
        holder.execute(text("SELECT count(*) FROM runs"))
        process = holder.scalar(text("SELECT pg_backend_pid()"))
        with pytest.raises(ConfigurationError) as raised:
            migrate(engine)
    for words in (
        f"process {process}",
        "a long report",
        "idle in transaction",
        "runs",
        "`tunery migrate` again",
    ):
        assert words in str(raised.value)
    assert described(engine) == before
    migrate(engine)
    assert is_current(engine)


def test_a_migration_that_waits_for_a_lock_lets_requests_pass_and_goes_on_once_it_is_free(
    new_database: Callable[[], Engine], monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    monkeypatch.setattr(schema, "GIVE_UP_SECONDS", 30.0)
    engine = new_database()
    command.upgrade(alembic_config(engine), below("0022"))
    with ThreadPoolExecutor(1) as pool:
        with capture_logs() as logs, engine.begin() as holder:
            holder.execute(text("SELECT count(*) FROM runs"))
            migration = pool.submit(migrate, engine)
            wait_for(lambda: any(entry["event"] == "migration_waits" for entry in logs))
            with engine.connect() as request:
                request.execute(text("SET LOCAL statement_timeout = '5s'"))
                request.execute(text("SELECT count(*) FROM runs"))
        migration.result(240)
    assert is_current(engine)


def test_an_index_whose_creation_was_cut_off_is_made_again(new_database: Callable[[], Engine]) -> None:
    engine = new_database()
    command.upgrade(alembic_config(engine), below("0022"))
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE runs ADD COLUMN token varchar"))
        connection.execute(text("CREATE INDEX ix_jobs_queue_by_project ON jobs (id)"))
    migrate(engine)
    created = new_database()
    create_like(created, engine)
    assert described(engine, OF_MODELS) == described(created, OF_MODELS)


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


def test_a_job_has_one_open_run_at_most(connection: Connection, job: str) -> None:
    open_run(connection, job, 1)
    with refused(connection, "uq_runs_open"):
        open_run(connection, job, 2)
    connection.execute(text("UPDATE runs SET ended_at = now(), outcome = 'lost'"))
    open_run(connection, job, 2)
    with refused(connection, "uq_runs_open"):
        connection.execute(text("UPDATE runs SET ended_at = NULL, outcome = NULL WHERE fence = 1"))


def test_an_ended_run_says_how_it_ended(connection: Connection, job: str) -> None:
    open_run(connection, job, 1)
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


def test_a_checkpoint_belongs_to_a_run_of_its_job_and_its_step_is_its_own(
    connection: Connection, job: str
) -> None:
    insert = """INSERT INTO checkpoints (id, job_id, fence, step, ends_epoch, metrics, object_prefix, files)
                VALUES (:id, :job, :fence, 1, true, '{}', '', '[]')"""
    with refused(connection, "fk_checkpoints_job_id_fence"):
        connection.execute(text(insert), {"id": "ftckpt-1", "job": job, "fence": 1})
    open_run(connection, job, 1)
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
