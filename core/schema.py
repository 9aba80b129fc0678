"""The database's schema: bring it up to date, and tell whether it is."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"


def alembic_config(engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["engine"] = engine
    return config


def migrate(engine: Engine) -> None:
    """Run the migrations that are missing; several processes may call it at once."""
    command.upgrade(alembic_config(engine), "head")


def is_current(engine: Engine) -> bool:
    with engine.connect() as connection:
        applied = MigrationContext.configure(connection).get_current_revision()
    return applied == ScriptDirectory(str(MIGRATIONS)).get_current_head()
