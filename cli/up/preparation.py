"""Prepares the servers for `up`: the bucket, the tables, the first API key and the encryption key."""

from typing import TYPE_CHECKING

from cli.client.database import open_database
from cli.client.errors import Unreachable
from cli.client.home import Home, read
from cli.client.output import note
from cli.private_files import write_private
from cli.up.loading import loading
from core.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from core.settings import Settings

PROJECT = "default"


def load_preparation() -> None:
    """Import what the other functions need. It takes a while, so it is done while the servers start."""
    with loading():
        import core.access.keys
        import core.access.projects
        import core.schema
        import core.storage.object_store
        import core.tables  # noqa: F401


def prepare_object_store(settings: "Settings") -> None:
    """Make the bucket if it is missing. Raises Unreachable, and ConfigurationError if the store refuses."""
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

    from core.storage.object_store import ObjectStore

    url = settings.server("s3_endpoint_url")
    try:
        ObjectStore(url, settings.server("s3_bucket")).ensure_bucket()
    except (ConnectionError, HTTPClientError) as error:
        raise Unreachable(f"The object store at {url} does not answer: {error}") from error
    except (BotoCoreError, ClientError, ValueError) as error:
        raise ConfigurationError(
            f"The object store at {url} refuses: {error}. Check the AWS_* variables"
        ) from error


def secret_keys(settings: "Settings", home: Home) -> dict[str, str]:
    """Return the variable TUNERY_SECRET_KEYS for the parts, or nothing if the operator has set it.

    Its value is the state folder's key, which is created once.
    """
    if settings.secret_keys is not None:
        return {}
    from core.secrets.vault import Vault

    keys = read(home.secret_keys)
    if keys is None:
        keys = Vault.new_key()
        write_private(home.secret_keys, f"{keys}\n")
    return {"TUNERY_SECRET_KEYS": keys}


def prepare_database(settings: "Settings", home: Home) -> None:
    """Migrate the database. Create a first key of the default project if the folder has no key that is known.

    The key is committed before it is written to the folder. If `up` is killed in between, the next `up`
    creates another key.
    """
    from core.access.keys import create_key
    from core.access.projects import find_or_create_project
    from core.database import session_factory
    from core.roles import Role
    from core.schema import migrate

    with open_database(settings.direct_database_url) as engine:
        migrate(engine)
        with session_factory(engine).begin() as session:
            if is_known(session, read(home.api_key)):
                return
            key = create_key(
                session, find_or_create_project(session, PROJECT), "made by `tunery up`", Role.ADMIN
            )
        write_private(home.api_key, f"{key.value}\n")


def is_known(session: "Session", value: str | None) -> bool:
    """Return whether the database has this key.

    A revoked key counts as known: the person who revoked it did not ask for a new one.
    """
    from core.access.keys import KEY_FORM, authenticate
    from core.errors import NotAuthenticated
    from core.tables import ApiKey

    form = KEY_FORM.fullmatch(value or "")
    if form is None or value is None:
        return False
    try:
        authenticate(session, value)
    except NotAuthenticated as error:
        key = session.get(ApiKey, form[2])
        if key is None or key.revoked_at is None:
            return False
        note(f"The key of this state folder does not work: {error}", "yellow")
    return True
