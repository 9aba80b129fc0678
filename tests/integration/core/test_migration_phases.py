"""Each migration keeps the word that it gives: to expand, or to contract."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Engine, text

from core.database import create_database
from core.releases import MIGRATIONS
from core.schema import CONTRACT, EXPAND, alembic_config
from tests.fixtures.postgres.phases import against_contracting, against_expanding, tables_of
from tests.fixtures.service.servers import database_on

SCRIPTS = [*ScriptDirectory(str(MIGRATIONS)).walk_revisions()][::-1]  # oldest first


@pytest.fixture
def engine(servers: Any) -> Iterator[Engine]:
    """Yield an engine on an empty database."""
    with database_on(servers) as url:
        engine = create_database(url)
        yield engine
        engine.dispose()


@pytest.fixture
def migrated(servers: Any, template: str) -> Iterator[Engine]:
    with database_on(servers, template) as url:
        engine = create_database(url)
        yield engine
        engine.dispose()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.revision))
def test_a_migration_has_a_phase_and_its_file_begins_with_its_number(script: Script) -> None:
    """A process knows by the names of the files which migrations its code has."""
    assert script.module.phase in (EXPAND, CONTRACT)
    assert Path(script.path).name.startswith(f"{script.revision}_")
    assert script.revision.isdigit()
    assert len(script.revision) == 4
    assert script.down_revision is None or script.revision > str(script.down_revision)


def test_each_migration_does_what_its_phase_allows(engine: Engine) -> None:
    for script in SCRIPTS:
        before = tables_of(engine)
        command.upgrade(alembic_config(engine), script.revision)
        after = tables_of(engine)
        if script.module.phase == EXPAND:
            wrong = against_expanding(before, after, getattr(script.module, "harmless", {}))
        else:
            wrong = against_contracting(before, after)
        assert not wrong, f"{script.path}: {', '.join(wrong)}"


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("ALTER TABLE jobs DROP COLUMN measured", "column jobs.measured is gone"),
        ("ALTER TABLE jobs RENAME COLUMN measured TO found", "column jobs.measured is gone"),
        ("DROP TABLE chat_templates CASCADE", "column chat_templates.places is gone"),
        ("ALTER TABLE workers RENAME TO trainers", "column workers.host is gone"),
        ("ALTER TABLE workers ALTER lanes TYPE bigint", "column workers.lanes has changed"),
        ("ALTER TABLE workers ALTER lanes SET NOT NULL", "column workers.lanes has changed"),
        ("ALTER TABLE workers ALTER started_at DROP DEFAULT", "column workers.started_at has changed"),
        ("ALTER TABLE workers ADD colour text NOT NULL", "column workers.colour must be filled in"),
        ("ALTER TABLE workers ADD CONSTRAINT lanes CHECK (lanes > 0) NOT VALID", "lanes refuses rows"),
        ("CREATE UNIQUE INDEX one ON workers (host)", "index one refuses rows"),
        ("CREATE UNIQUE INDEX one ON workers (lower(host))", "index one refuses rows"),
        ("DROP INDEX ix_jobs_queue_by_project", "index ix_jobs_queue_by_project is gone"),
        ("CREATE TABLE x (job_id varchar REFERENCES jobs)", "keeps rows of jobs from being deleted"),
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            "CREATE TRIGGER no BEFORE INSERT ON workers FOR EACH ROW EXECUTE FUNCTION no()",
            "trigger workers.no is on a table that was there",
        ),
        (
            "CREATE OR REPLACE FUNCTION job_search_terms(project_id text, words text) RETURNS text[]"
            " LANGUAGE sql IMMUTABLE AS 'SELECT NULL::text[]'",
            "function job_search_terms(text,text) has changed",
        ),
    ],
)
def test_an_expansion_that_the_release_before_would_mind_is_noticed(
    migrated: Engine, statement: str, what: str
) -> None:
    before = tables_of(migrated)
    with migrated.begin() as connection:
        connection.execute(text(statement))
    wrong = against_expanding(before, tables_of(migrated), {})
    assert any(what in one for one in wrong), wrong


def test_what_only_adds_expands(migrated: Engine) -> None:
    before = tables_of(migrated)
    with migrated.begin() as connection:
        for statement in (
            "ALTER TABLE jobs ADD colour text UNIQUE CHECK (colour <> '')",
            "ALTER TABLE jobs ADD size integer NOT NULL DEFAULT 0",
            "ALTER TABLE jobs ADD parent varchar REFERENCES jobs ON DELETE SET NULL",
            "CREATE INDEX ix_jobs_colour ON jobs (colour)",
            "CREATE TABLE colours (job_id varchar REFERENCES jobs ON DELETE CASCADE, name text UNIQUE)",
        ):
            connection.execute(text(statement))
    after = tables_of(migrated)
    assert against_expanding(before, after, {}) == []
    assert against_contracting(before, after), "a contract migration adds nothing that code needs"


def test_a_migration_may_say_why_the_release_before_does_not_mind(migrated: Engine) -> None:
    before = tables_of(migrated)
    with migrated.begin() as connection:
        connection.execute(text("DROP INDEX ix_jobs_queue_by_project"))
    assert (
        against_expanding(before, tables_of(migrated), {"ix_jobs_queue_by_project": "a better one is there"})
        == []
    )
