"""`tunery up` waits at its start for servers that are away for a moment."""

from contextlib import ExitStack

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from cli.client.database import open_database
from cli.client.errors import Unreachable
from cli.embedded import EmbeddedServers
from cli.up import command
from cli.up.stopping import StopRequest
from tests.fixtures.service.servers import database_on


def connect(url: str) -> None:
    with open_database(url) as engine, engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def test_a_database_that_comes_later_is_waited_for(
    servers: EmbeddedServers, capfd: pytest.CaptureFixture[str]
) -> None:
    missing = make_url(servers.urls["database_url"]).set(database="missing")
    url, attempts = missing.render_as_string(hide_password=False), 0
    with ExitStack() as stack, StopRequest() as stop:

        def prepare() -> None:
            nonlocal url, attempts
            attempts += 1
            if attempts == 3:
                url = stack.enter_context(database_on(servers))
            connect(url)

        command.patiently(prepare, [], stop)
    assert attempts == 3
    assert capfd.readouterr().err.count("The database does not answer") == 1


def test_a_server_that_stays_away_ends_the_start_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "PATIENCE", 0.3)
    with StopRequest() as stop, pytest.raises(Unreachable, match="The database does not answer"):
        command.patiently(lambda: connect("postgresql://127.0.0.1:9/none"), [], stop)
