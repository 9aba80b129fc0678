"""The pool's connections after the server has cut them, and the errors of statements."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from core.database import create_database


def cut_off_all(url: str) -> None:
    """End every other session of the database, as a restart does."""
    admin = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with admin.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    admin.dispose()


@pytest.mark.parametrize("rested", [True, False])
def test_a_connection_that_has_rested_is_replaced_where_it_was_cut(database_url: str, rested: bool) -> None:
    """One that was used a moment ago is not tried first; its failure replaces all of them."""
    engine = create_database(database_url, rested=0.0 if rested else 3600.0)
    with engine.connect() as first, engine.connect() as second:
        first.execute(text("SELECT 1"))
        second.execute(text("SELECT 1"))
    cut_off_all(database_url)
    if not rested:
        with pytest.raises(OperationalError), engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    for _ in range(3):
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_an_error_does_not_tell_the_values_of_its_statement(database_url: str) -> None:
    engine = create_database(database_url)
    statement = text("SELECT * FROM no_such_table WHERE value = :value")
    with engine.connect() as connection, pytest.raises(ProgrammingError) as raised:
        connection.execute(statement, {"value": "a-secret"})
    assert "no_such_table" in str(raised.value)
    assert "a-secret" not in str(raised.value)
    engine.dispose()
