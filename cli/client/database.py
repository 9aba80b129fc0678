"""Opens the database for one command, and turns its errors into messages for a person."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.client.errors import Unreachable
from core.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine


@contextmanager
def open_database(url: str) -> "Iterator[Engine]":
    """Yield an engine. Raises Unreachable, and ConfigurationError if the URL or the tables are wrong."""
    from sqlalchemy.exc import OperationalError, ProgrammingError

    from core.database import create_database

    engine = create_database(url, pool_size=1)
    try:
        yield engine
    except OperationalError as error:
        raise Unreachable(f"The database does not answer: {_first_line(error)}") from error
    except ProgrammingError as error:
        raise ConfigurationError(
            f"The tables are not Tunery's ({_first_line(error)}). Run `tunery migrate`"
        ) from error
    finally:
        engine.dispose()


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", error)).strip().partition("\n")[0]
