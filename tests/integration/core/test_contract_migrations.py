"""What takes something away waits for the processes that use it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from cli.embedded.postgres import ADMIN
from core import releases, schema
from core.database import create_database
from core.errors import ConfigurationError
from core.releases import older_processes, session_name
from core.schema import BEHIND, TOO_NEW, migrate, what_is_wrong
from core.secrets.vault import Vault
from tests.fixtures.paths import REPOSITORY
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.releases import CONTRACTED, EXPANDED, EXPANSION, add_migration, newer_release
from tests.fixtures.service.servers import database_on
from worker.process.newer_tables import TablesWatch, refuse_newer_tables

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
        (session,) = held.processes
        assert f"({name}, user" in session
        assert what_is_wrong(ours) is None, "the newer release works before"
        assert may_be_null(ours)
        older.dispose()
        assert migrate(ours) is None
        assert what_is_wrong(ours) is None
        assert not may_be_null(ours)


def test_afterwards_an_older_release_says_that_the_tables_are_too_new(
    connected: Callable[[], Engine], newer: Path
) -> None:
    older = connected()
    with of_release(newer):
        migrate(ours := connected())
        ours.dispose()
    assert what_is_wrong(older) is None, "an expanded database is one for both"
    refuse_newer_tables(older)
    assert TablesWatch(older).too_new() is None
    with of_release(newer):
        assert migrate(connected(), contract_up_to=CONTRACTED) is None
    assert what_is_wrong(older) == TOO_NEW
    with pytest.raises(ConfigurationError, match="start that release"):
        refuse_newer_tables(older)
    assert TablesWatch(older).too_new() == TOO_NEW
    with pytest.raises(ConfigurationError, match="A newer release"):
        migrate(older)


@pytest.mark.parametrize(
    ("name", "waits"),
    [
        ("", True),  # as releases before 0.2.0
        ("tunery 0001 0.1.9", True),
        (f"tunery {EXPANDED} 0.2.0", True),
        (f"tunery {EXPANDED} 0.2.0 - 10.0.0.3:4242", True),  # as PgBouncer adds the client's address
        (f"tunery pooled {CONTRACTED} 0.2.0", True),  # others may use this session too
        ("some program", True),
        (f"tunery {CONTRACTED} 0.2.0", False),
        (f"tunery {CONTRACTED} 0.2.0+{'a' * 60}", False),  # Postgres cuts it off
        ("tunery 9003 0.3.0", False),
        ("psql", False),
        ("pgAdmin 4 - DB:tunery", False),
    ],
)
def test_a_session_says_by_its_name_whether_it_is_waited_for(
    url: str, connected: Callable[[], Engine], newer: Path, name: str, waits: bool
) -> None:
    with of_release(newer), psycopg.connect(url, application_name=name):
        held = migrate(connected())
    assert (held is not None) == waits


@pytest.mark.parametrize("right", ["UPDATE", "SELECT"])
def test_a_session_of_another_role_counts_if_it_can_write_our_tables(
    servers: Any, url: str, connected: Callable[[], Engine], right: str
) -> None:
    """Our role is an ordinary one, which sees less of the sessions of others."""
    password = json.loads((servers.home / "credentials.json").read_text())["database_admin_password"]
    admin = {"user": ADMIN, "password": password, "application_name": "psql"}
    with psycopg.connect(url, autocommit=True, **admin) as connection:
        connection.execute("CREATE ROLE other LOGIN PASSWORD 'secret'")
        try:
            connection.execute(f"GRANT {right} ON jobs TO other")
            with psycopg.connect(url, user="other", password="secret"), connected().connect() as asks:
                found = older_processes(asks, session_name().split()[1])
        finally:
            connection.execute("DROP OWNED BY other")
            connection.execute("DROP ROLE other")
    assert ["user other" in one for one in found] == [True] * (right == "UPDATE")


@pytest.mark.parametrize(("release", "waits"), [("0.0.9", True), (version("tunery"), False)])
def test_a_worker_that_reports_counts_without_a_session(
    url: str, connected: Callable[[], Engine], newer: Path, release: str, waits: bool
) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO servers (id, address, host, release, bases, adapters, running, waiting, capacity,"
            " draining, expires_at)"
            " VALUES ('s', '', 'far', %s, '{}', '{}', 0, 0, 1, false, now() + interval '1 minute')",
            (release,),
        )
    with of_release(newer):
        held = migrate(connected())
    assert (held is not None) == waits
    assert held is None or held.processes == ["a server on far (release 0.0.9)"]


def test_it_looks_once_more_while_nobody_else_can_migrate(
    url: str, connected: Callable[[], Engine], newer: Path
) -> None:
    """An older process that comes while the command waits for another one is seen."""
    waits = (
        "SELECT FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_lock%' AND pid <> pg_backend_pid()"
    )
    with (
        of_release(newer),
        psycopg.connect(url, autocommit=True, application_name="psql") as other,
        ThreadPoolExecutor(1) as pool,
    ):
        other.execute("SELECT pg_advisory_lock(%s)", (0x74756E65,))  # ADVISORY_LOCK of migrations/env.py
        migration = pool.submit(migrate, connected())
        wait_for(lambda: other.execute(waits).fetchall())
        with psycopg.connect(url):
            other.execute("SELECT pg_advisory_unlock_all()")
            held = migration.result(60)
    assert held is not None


def test_a_word_reaches_as_far_as_the_migration_that_it_names(
    connected: Callable[[], Engine], newer: Path
) -> None:
    connected()
    with of_release(newer):
        ours = connected()
        assert migrate(ours, contract_up_to=EXPANDED) is not None
        with pytest.raises(ConfigurationError, match="no migration '9999'"):
            migrate(ours, contract_up_to="9999")
        assert migrate(ours, contract_up_to=CONTRACTED) is None


def test_a_new_database_gets_all_tables_at_once(servers: Any, newer: Path) -> None:
    with database_on(servers) as url, of_release(newer), psycopg.connect(url):
        engine = create_database(url)
        assert migrate(engine) is None
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
        with pytest.raises(ConfigurationError, match=rf"Migration {CONTRACTED} takes away.*--contract-up-to"):
            migrate(ours)
        assert what_is_wrong(ours) == BEHIND
        migrate(ours, contract_up_to=CONTRACTED)
        assert what_is_wrong(ours) is None


@pytest.mark.slow
@pytest.mark.parametrize("program", ["worker", "serve"])
def test_an_older_program_does_not_start_on_such_tables(
    url: str, connected: Callable[[], Engine], newer: Path, program: str
) -> None:
    with of_release(newer):
        migrate(connected(), contract_up_to=CONTRACTED)
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", program],
        cwd=REPOSITORY,
        env=os.environ | {"TUNERY_DATABASE_URL": url, "TUNERY_SECRET_KEYS": Vault.new_key()},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 2, "the exit status of wrong settings"
    assert "a newer release has taken it away" in " ".join(ended.stderr.split())


@pytest.mark.slow
def test_the_command_says_what_it_holds_back_and_takes_a_word(
    servers: Any, url: str, connected: Callable[[], Engine], newer: Path
) -> None:
    connected()
    environment = os.environ | {"TUNERY_DATABASE_URL": url, "PYTHONPATH": str(newer)}

    def run(*options: str) -> str:
        command = [sys.executable, "-m", "cli.main", "migrate", *options]
        ended = subprocess.run(
            command, cwd=newer, env=environment, capture_output=True, text=True, timeout=240
        )
        assert ended.returncode == 0, ended.stderr
        return " ".join((ended.stdout + ended.stderr).split())

    assert f"Held back: {CONTRACTED}" in (said := run())
    assert "Stop them" in said
    assert f"tunery migrate --contract-up-to {CONTRACTED}" in said
    assert '"held_back": null' in run("--contract-up-to", CONTRACTED, "--json")
