"""The schema of the database: functions that update it and check whether it is current."""

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
    """Return Alembic's configuration for our migrations on this database."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["engine"] = engine
    return config


def migrate(engine: Engine) -> None:
    """Run the missing migrations. Several processes may call this at the same time.

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
            "release or a later release"
        ) from error


def is_current(engine: Engine) -> bool:
    """Whether this code works on the database: it has all of our migrations, and maybe newer ones too."""
    applied = _applied(engine)
    return applied is not None and (applied == _script().get_current_head() or not _is_known(applied))


def _applied(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _is_known(revision: str) -> bool:
    return any(script.revision == revision for script in _script().walk_revisions())


def _script() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))
