"""What `up` makes sure of before it serves: a bucket (as `migrate` does), the tables, a first key, a seal."""

from typing import TYPE_CHECKING

from cli.client.database import open_database
from cli.client.errors import Unreachable
from cli.client.home import Home, read
from cli.client.output import note
from core.errors import ConfigurationError
from core.private_files import write_private

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from core.settings import Settings

PROJECT = "default"


def prepare_object_store(settings: "Settings") -> None:
    """Raises Unreachable, and ConfigurationError where the store refuses."""
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
    """The variable for the parts, where the operator has set none: the state folder's key, made once."""
    if settings.secret_keys is not None:
        return {}
    from core.secrets.vault import Vault

    keys = read(home.secret_keys)
    if keys is None:
        keys = Vault.new_key()
        write_private(home.secret_keys, f"{keys}\n")
    return {"TUNERY_SECRET_KEYS": keys}


def prepare_database(settings: "Settings", home: Home) -> None:
    """Migrate, and write the first key of the default project, where this database does not know one.

    The key is committed before it is written: a run killed in between makes another one, and no more.
    """
    from core.access.keys import create_key
    from core.access.projects import find_or_create_project
    from core.database import session_factory
    from core.roles import Role
    from core.schema import migrate

    with open_database(settings.server("database_url")) as engine:
        migrate(engine)
        with session_factory(engine).begin() as session:
            if is_known(session, read(home.api_key)):
                return
            key = create_key(
                session, find_or_create_project(session, PROJECT), "made by `tunery up`", Role.ADMIN
            )
        write_private(home.api_key, f"{key.token}\n")


def is_known(session: "Session", token: str | None) -> bool:
    """True where the database has this key, even a revoked one: who revoked it did not ask for another."""
    from core.access.keys import KEY_FORM, authenticate
    from core.errors import NotAuthenticated
    from core.tables import ApiKey

    form = KEY_FORM.fullmatch(token or "")
    if form is None or token is None:
        return False
    try:
        authenticate(session, token)
    except NotAuthenticated as error:
        key = session.get(ApiKey, form[2])
        if key is None or key.revoked_at is None:
            return False
        note(f"The key of this state folder does not work: {error}", "yellow")
    return True
