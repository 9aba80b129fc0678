"""What takes something away waits for the processes that use it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from core import releases, schema
from core.database import create_database
from core.errors import ConfigurationError
from core.releases import session_name
from core.schema import TOO_NEW, is_current, migrate, what_is_wrong
from tests.fixtures.service.releases import CONTRACTED, EXPANDED, EXPANSION, add_migration, newer_release
from tests.fixtures.service.servers import database_on

NULLABLE = "SELECT is_nullable FROM information_schema.columns WHERE column_name = 'colour'"


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a newer release."""
    return newer_release(tmp_path_factory.mktemp("newer") / "release")


@pytest.fixture
def url(servers: Any, template: str) -> Iterator[str]:
    """Yield the URL of a database that this release has migrated."""
    with database_on(servers, template) as url:
        yield url


@pytest.fixture
def connected(url: str) -> Iterator[Callable[[], Engine]]:
    """Makes engines, each of which keeps a session."""
    with ExitStack() as made:

        def connect() -> Engine:
            engine = create_database(url)
            made.callback(engine.dispose)
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
            return engine

        yield connect


@contextmanager
def of_release(folder: Path) -> Iterator[None]:
    """Within the block, this process is one of the release in the folder."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (schema, releases):
            patch.setattr(module, "MIGRATIONS", folder / "migrations")
        yield


def may_be_null(engine: Engine) -> bool:
    with engine.connect() as connection:
        return connection.scalar(text(NULLABLE)) == "YES"


def test_it_waits_for_the_processes_of_older_releases_and_names_them(
    connected: Callable[[], Engine], newer: Path
) -> None:
    older = connected()
    name = session_name()
    with of_release(newer):
        connected()  # a process of the newer release, which bars nothing
        ours = connected()
        held = migrate(ours)
        assert held is not None
        assert held.revisions == [CONTRACTED]
        (session,) = held.sessions
        assert f"({name}, from" in session
        assert is_current(ours), "the newer release works before"
        assert may_be_null(ours)
        older.dispose()
        assert migrate(ours) is None
        assert is_current(ours)
        assert not may_be_null(ours)


def test_afterwards_an_older_release_says_that_the_tables_are_too_new(
    connected: Callable[[], Engine], newer: Path
) -> None:
    older = connected()
    with of_release(newer):
        migrate(ours := connected())
        ours.dispose()
    assert what_is_wrong(older) is None, "an expanded database is one for both"
    with of_release(newer):
        assert migrate(connected(), contract=True) is None
    assert what_is_wrong(older) == TOO_NEW
    with pytest.raises(ConfigurationError, match="A newer release"):
        migrate(older)


@pytest.mark.parametrize(
    ("name", "waits"),
    [
        ("", True),  # as releases before 0.2.0
        ("tunery 0.1.9 0001", True),
        (f"tunery 0.2.0 {EXPANDED}", True),
        (f"tunery 0.2.0 {CONTRACTED}", False),
        ("tunery 0.3.0 9003", False),
        ("psql", False),
    ],
)
def test_a_session_says_by_its_name_whether_it_is_waited_for(
    url: str, connected: Callable[[], Engine], newer: Path, name: str, waits: bool
) -> None:
    with of_release(newer), psycopg.connect(url, application_name=name):
        held = migrate(connected())
    assert (held is not None) == waits


def test_behind_a_pooler_it_waits_for_a_word(connected: Callable[[], Engine], newer: Path) -> None:
    with of_release(newer):
        ours = connected()
        held = migrate(ours, contract=False)
        assert held is not None
        assert held.sessions == []
        assert migrate(ours, contract=True) is None


def test_a_new_database_gets_all_tables_at_once(servers: Any, newer: Path) -> None:
    with database_on(servers) as url, of_release(newer), psycopg.connect(url):
        engine = create_database(url)
        assert migrate(engine, contract=False) is None
        assert not may_be_null(engine)
        engine.dispose()


def test_an_expansion_that_comes_after_it_cannot_go_ahead(
    connected: Callable[[], Engine], newer: Path, tmp_path: Path
) -> None:
    later = tmp_path / "later"
    shutil.copytree(newer / "migrations", later / "migrations")
    add_migration(later / "migrations", "9003", EXPANSION.replace("colour", "shade"))
    connected()
    with of_release(later):
        ours = connected()
        with pytest.raises(ConfigurationError, match=rf"Migration {CONTRACTED} takes away.*--contract"):
            migrate(ours)
        assert not is_current(ours)
        migrate(ours, contract=True)
        assert is_current(ours)


@pytest.mark.slow
def test_the_command_says_what_it_holds_back_and_takes_a_word(
    servers: Any, url: str, connected: Callable[[], Engine], newer: Path
) -> None:
    connected()
    environment = os.environ | {"TUNERY_DATABASE_URL": url, "PYTHONPATH": str(newer)}
    pooled = {"TUNERY_DATABASE_URL": f"{url}?connect_timeout=9", "TUNERY_DATABASE_DIRECT_URL": url}

    def run(*options: str, **variables: str) -> str:
        command = [sys.executable, "-m", "cli.main", "migrate", *options]
        ended = subprocess.run(
            command, cwd=newer, env=environment | variables, capture_output=True, text=True, timeout=240
        )
        assert ended.returncode == 0, ended.stderr
        return " ".join((ended.stdout + ended.stderr).split())

    assert f"Held back: {CONTRACTED}" in (said := run())
    assert "Stop them" in said
    assert "a pooler hides who is connected" in run(**pooled)
    assert '"held_back": null' in run("--contract", "--json")
