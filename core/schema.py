"""The database's schema: bring it up to date, and tell whether it is."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine

from core.errors import ConfigurationError

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"


def alembic_config(engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["engine"] = engine
    return config


def migrate(engine: Engine) -> None:
    """Run the migrations that are missing; several processes may call it at once.

    Raises ConfigurationError where a newer release has migrated the database.
    """
    try:
        command.upgrade(alembic_config(engine), "head")
    except CommandError as error:
        applied = _applied(engine)
        if applied is None or _is_known(applied):
            raise
        raise ConfigurationError(
            f"A newer release of Tunery has migrated the database, to revision {applied}; migrate with that "
            "release, or a later one"
        ) from error


def is_current(engine: Engine) -> bool:
    """Whether this code can work on the database: it has all of our migrations, and may have newer ones."""
    applied = _applied(engine)
    return applied is not None and (applied == _script().get_current_head() or not _is_known(applied))


def _applied(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _is_known(revision: str) -> bool:
    return any(script.revision == revision for script in _script().walk_revisions())


def _script() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))
