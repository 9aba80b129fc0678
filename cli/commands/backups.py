"""`tunery backup` and `tunery restore`: everything that a service stores, in a folder and back.

The database of `tunery up` is backed up and restored by pgBackRest. An external Postgres has backups of its
own: these commands then do the objects alone, and say up to which time its log must be read.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client import output
from cli.client.database import open_database
from cli.client.errors import GaveUp, Unreachable
from cli.client.home import DEFAULT_HOME, Home, HomeOption, load_settings, named_servers, unfinished
from cli.private_files import write_private
from core.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from cli.backup.objects import Copied, Objects
    from cli.embedded import Archive
    from core.settings import Settings
    from core.storage.object_store import ObjectStore

SMALL_FILES = ("credentials.json", "secret-keys", "api-key", "catalog.toml")
"""The files of a state folder without which its data cannot be used."""
SERVERS = ("postgres", "valkey", "s3")
AGAIN = "Mend that, and run the command again"
TRIES = 5  # objects may be deleted while a pass reads them
SHOWN = 20

At = Annotated[
    datetime | None,
    typer.Option(
        "--at",
        formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"],
        help="The time to go back to, such as 2026-12-01T20:30:00Z; default: that of the last backup",
    ),
]


@dataclass(frozen=True)
class Service:
    """A service that runs: its settings, its folder of backups, and what backs up its own Postgres."""

    settings: "Settings"
    folder: Path
    archive: "Archive | None"

    @property
    def database_url(self) -> str:
        """The database with the most rights that we have."""
        url = self.settings.direct_database_url
        return self.archive.admin_url(url) if self.archive else url

    def claim(self, home: Path) -> None:
        """Raise ConfigurationError if the folder is another service's, or its disk is not mounted."""
        from cli.backup.folder import claim_for_bucket, claim_for_home

        if self.archive:
            claim_for_home(self.folder, home.resolve())
        else:
            claim_for_bucket(self.folder, self.settings.server("s3_bucket"))


def backup(home: HomeOption = DEFAULT_HOME, json: output.Json = False) -> None:
    """Back up the database of the running `up`, and the objects of any service, to TUNERY_BACKUP_FOLDER."""
    service = _service(home)
    with _alone_in(service.folder):
        service.claim(home)
        label = service.archive.back_up() if service.archive else None
        with open_database(service.database_url) as engine:
            at, done, archived = _pass(engine, service, home)
    told = {"at": at.isoformat(), "database": label, "archived": archived, **asdict(done)}
    if json:
        output.json(told)
    else:
        output.note(f"Backed up to {service.folder}, up to {at.isoformat()}")
        output.note(f"Objects: {done.objects} copied ({done.bytes} bytes), {done.kept} were there")
    if not service.archive:
        output.note("The database is not in it: restore it from its own backup, with its log up to this time")
        if not archived:
            output.note("This time is not archived yet, or Postgres archives no log", "yellow")
    _complain("differ from their SHA-256, and are not backed up", done.damaged)


def restore(
    folder: Annotated[Path, typer.Argument(help="The folder of the backups", exists=True, file_okay=False)],
    home: HomeOption = DEFAULT_HOME,
    at: At = None,
    json: output.Json = False,
) -> None:
    """Bring everything back: database and objects to an empty --home, or the objects to external servers."""
    from cli.backup.objects import Objects

    settings, folder = load_settings(home=home), folder.resolve()
    if at and not settings.needs_embedded_servers:
        raise ConfigurationError("--at is for the database of `tunery up`. Restore yours to that time first")
    with _alone_in(folder), Objects.at(folder) as objects:
        points = objects.points()
        if not points:
            raise ConfigurationError(f"{folder} has no backup that `tunery backup` has completed")
        until = at.astimezone(UTC) if at else points[-1]
        if at and not points[0] <= until <= datetime.now(UTC):
            raise ConfigurationError(f"--at: the backups reach from {points[0].isoformat()} until now")
        with _restored_servers(settings, folder, home, objects, until) as named:
            done = _put_back(objects, named)
        unfinished(home).unlink(missing_ok=True)
    if json:
        times = {"at": until.isoformat(), "last_backup": points[-1].isoformat()}
        output.json({**(times if settings.needs_embedded_servers else {}), **asdict(done)})
    else:
        if settings.needs_embedded_servers:
            output.note(f"Everything until {until.isoformat()} is back; what came after that is lost")
        sent = f"{done.objects} sent ({done.bytes} bytes), each with its SHA-256"
        output.note(f"Objects: {sent}; {done.kept} of the same size were there")
    if settings.needs_embedded_servers:
        output.note("To back this service up, set TUNERY_BACKUP_FOLDER to a new, empty folder")
    _complain("are not in the backup, or damaged there, and rows name them", [*done.gone, *done.damaged])


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder for this command alone, and say in a sentence what fails outside of Tunery."""
    import sqlite3

    from cli.backup.folder import alone_in
    from core.storage.object_store import STORE_ERRORS

    os.umask(0o077)
    try:
        with alone_in(folder):
            yield
    except STORE_ERRORS as error:
        raise Unreachable(f"The object store failed: {error}. {AGAIN}") from error
    except sqlite3.Error as error:
        raise GaveUp(f"{folder / 'objects.sqlite'}: {error}. {AGAIN}") from error
    except OSError as error:
        raise GaveUp(f"{error}. {AGAIN}") from error


def _service(home: Path) -> Service:
    settings = load_settings(home=home)
    if not settings.needs_embedded_servers:
        if not settings.backup_folder:
            raise ConfigurationError("Set TUNERY_BACKUP_FOLDER")
        return Service(settings, settings.backup_folder.resolve(), None)
    from cli.embedded import Backups, EmbeddedServers

    running = Home(home).read_environment()
    if not running:
        raise ConfigurationError(f"No `tunery up` runs in {home}, and only a running one can be backed up")
    if not (used := running.get("TUNERY_BACKUP_FOLDER")):
        raise ConfigurationError("`tunery up` runs without TUNERY_BACKUP_FOLDER: start it again with it")
    if settings.backup_folder and settings.backup_folder.resolve() != Path(used):
        raise ConfigurationError(f"`tunery up` runs with TUNERY_BACKUP_FOLDER={used}: use the same here")
    archive = EmbeddedServers.archive(home, Backups(Path(used), settings.backup_days))
    return Service(named_servers(settings, home), Path(used), archive)


def _pass(engine: "Engine", service: Service, home: Path) -> tuple[datetime, "Copied", bool]:
    """Copy the objects, again if some were deleted meanwhile, and let the log be archived up to then."""
    from datetime import timedelta

    from cli.backup import ledger
    from cli.backup.objects import Objects
    from cli.backup.point import begin_point, end_point
    from core.database import session_factory

    sessions, store = session_factory(engine), _store(service.settings)
    with Objects.at(service.folder) as objects:
        for _ in range(TRIES):
            with sessions() as session:
                named = ledger.hashes(session)  # also what is deleted before the ledger is read again
            small_files = _small_files(home) if service.archive else {}
            at = begin_point(engine)
            with sessions() as session:
                belongs, hashes = ledger.belongs(session, at), ledger.hashes(session)
            done = objects.copy(store, belongs, named | hashes, at)
            if not done.gone:
                break
        _complain("are named by rows, but not in the store: nothing can go back to this backup", done.gone)
        archived = end_point(engine)
        if service.archive and not archived:
            raise GaveUp("Postgres does not archive its log: see logs/postgres.log in the state folder")
        objects.note(at, small_files)
        objects.expire(at - timedelta(days=service.settings.backup_days))
    return at, done, archived


@contextmanager
def _restored_servers(
    settings: "Settings", folder: Path, home: Path, objects: "Objects", at: datetime
) -> "Iterator[Settings]":
    """Yield settings that name the servers. Those of `up` start with the database of that time."""
    if not settings.needs_embedded_servers:
        yield settings
        return
    from cli.embedded import Backups, EmbeddedServers
    from core.schema import migrate

    _empty(home)
    for name, content in _home_files(objects, at).items():
        write_private(home / name, content)
    output.note("Restoring the database …")
    EmbeddedServers.archive(home, Backups(folder, settings.backup_days)).restore(at)
    with EmbeddedServers(home) as servers:
        os.environ.update(servers.environment)
        named = settings.with_servers(**servers.urls)
        with open_database(named.server("database_url")) as engine:
            migrate(engine)
        _store(named).ensure_bucket()
        yield named


def _home_files(objects: "Objects", at: datetime) -> dict[str, str]:
    """Return the small files of the last backup until then, with the keys that the next backup has too."""
    files, later = objects.home_files(at), [point for point in objects.points() if point > at]
    both = (files, objects.home_files(later[0]) if later else {})
    keys = [key.strip() for each in both for key in each.get("secret-keys", "").split(",")]
    if known := [key for key in dict.fromkeys(keys) if key]:
        files["secret-keys"] = ",".join(known) + "\n"
    return files


def _empty(home: Path) -> None:
    """Make the home, and remove what a restore that broke off has left. Raises ConfigurationError."""
    from cli.embedded.archive import require_program

    require_program()
    mark, parts = unfinished(home), [home / name for name in (*SERVERS, *SMALL_FILES, "backups")]
    if not mark.exists() and any(part.exists() for part in parts):
        raise ConfigurationError(f"{home} is not empty. Restore to another --home, or move this one away")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark.touch()
    for part in parts:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)


def _put_back(objects: "Objects", settings: "Settings") -> "Copied":
    from cli.backup import ledger
    from core.database import session_factory

    with open_database(settings.direct_database_url) as engine, session_factory(engine)() as session:
        belongs, hashes = ledger.belongs(session), ledger.hashes(session)
    return objects.put_back(_store(settings), belongs, hashes)


def _store(settings: "Settings") -> "ObjectStore":
    from core.storage.object_store import ObjectStore

    return ObjectStore(settings.server("s3_endpoint_url"), settings.server("s3_bucket"))


def _small_files(home: Path) -> dict[str, str]:
    return {name: (home / name).read_text("utf-8") for name in SMALL_FILES if (home / name).exists()}


def _complain(how: str, keys: list[str]) -> None:
    if keys:
        shown = "\n".join(f"  {key}" for key in keys[:SHOWN])
        raise GaveUp(f"{len(keys)} objects {how}. The first:\n{shown}")
