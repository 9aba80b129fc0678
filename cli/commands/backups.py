"""`tunery backup` and `tunery restore`: everything that a service stores, in a folder and back.

The database of `tunery up` is backed up and restored by pgBackRest. An external Postgres has backups of its
own: these commands then do the objects alone, and say up to which time its log must be read.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.client import output
from cli.client.database import open_database
from cli.client.errors import GaveUp
from cli.client.home import DEFAULT_HOME, Home, HomeOption, load_settings, named_servers
from cli.private_files import write_private
from core.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from cli.backup.objects import Copied
    from cli.embedded import Archive
    from core.settings import Settings
    from core.storage.object_store import ObjectStore

SMALL_FILES = ("credentials.json", "secret-keys", "api-key", "catalog.toml")
"""The files of a state folder without which its data cannot be used."""
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


def backup(home: HomeOption = DEFAULT_HOME, json: output.Json = False) -> None:
    """Back up the database of the running `up`, and the objects of any service, to TUNERY_BACKUP_FOLDER."""
    service = _service(home)
    label = None
    if service.archive:
        label = service.archive.back_up()
        _copy_small_files(home, service.folder / "home")
    with open_database(service.database_url) as engine:
        at, done, archived = _pass(engine, service)
    told = {"at": at.isoformat(), "database": label, "archived": archived, **_counts(done)}
    if json:
        output.json(told)
    else:
        output.note(f"Backed up to {service.folder}, up to {at.isoformat()}")
        output.note(f"Objects: {done.objects} copied ({done.bytes} bytes), {done.kept} were there")
        if not service.archive:
            output.note(
                "The database is not in it: restore it from its own backup, with its log up to this time"
            )
    _complain("were deleted, or differ from their SHA-256,", done)


def restore(
    folder: Annotated[Path, typer.Argument(help="The folder of the backups", exists=True, file_okay=False)],
    home: HomeOption = DEFAULT_HOME,
    at: At = None,
    json: output.Json = False,
) -> None:
    """Bring everything back: database and objects to an empty --home, or the objects to external servers."""
    from cli.backup.objects import Objects

    settings = load_settings(home=home)
    with Objects.at(folder.resolve()) as objects:
        points = objects.points()
        if not points:
            raise ConfigurationError(f"{folder} has no backup that `tunery backup` has completed")
        until = at.replace(tzinfo=at.tzinfo or UTC) if at else points[-1]
        with _restored_servers(settings, folder.resolve(), home, until) as named:
            done = _put_back(objects, named)
    if json:
        output.json({"at": until.isoformat(), "last_backup": points[-1].isoformat(), **_counts(done)})
    else:
        output.note(f"Everything until {until.isoformat()} is back; what came after that is lost")
        output.note(f"Objects: {done.objects} sent ({done.bytes} bytes), {done.kept} were there, all checked")
    _complain("are not in the backup, or damaged there,", done)


def _service(home: Path) -> Service:
    settings = named_servers(load_settings(home=home), home)
    folder = settings.backup_folder or Home(home).read_environment().get("TUNERY_BACKUP_FOLDER")
    if not folder:
        raise ConfigurationError("Set TUNERY_BACKUP_FOLDER, for `tunery up` too, and start it again")
    archive = None
    if load_settings(home=home).needs_embedded_servers:
        from cli.embedded import Backups, EmbeddedServers

        backups = Backups(Path(folder), settings.backup_days)
        archive = EmbeddedServers.archive(home, backups)
        if not archive.configuration.exists():
            raise ConfigurationError("`tunery up` runs without TUNERY_BACKUP_FOLDER: start it again with it")
    return Service(settings, Path(folder), archive)


def _pass(engine: "Engine", service: Service) -> tuple[datetime, "Copied", bool]:
    """Copy the objects, again if some were deleted meanwhile, and let the log be archived up to then."""
    from datetime import timedelta

    from cli.backup import ledger
    from cli.backup.objects import Objects
    from cli.backup.point import begin_point, end_point
    from core.database import session_factory

    sessions, store = session_factory(engine), _store(service.settings)
    with Objects.at(service.folder) as objects:
        for _ in range(TRIES):
            at = begin_point(engine)
            with sessions() as session:
                belongs, hashes = ledger.belongs(session, at), ledger.hashes(session)
            done = objects.copy(store, belongs, hashes, at)
            if not done.gone:
                break
        archived = end_point(engine)
        if service.archive and not archived:
            raise GaveUp("Postgres does not archive its log: see logs/postgres.log in the state folder")
        if not done.gone:
            objects.note(at)
        objects.expire(at - timedelta(days=service.settings.backup_days))
    return at, done, archived


@contextmanager
def _restored_servers(settings: "Settings", folder: Path, home: Path, at: datetime) -> "Iterator[Settings]":
    """Yield settings that name the servers. Those of `up` start with the database of that time."""
    if not settings.needs_embedded_servers:
        yield settings
        return
    from cli.embedded import Backups, EmbeddedServers
    from core.schema import migrate

    if any((home / name).exists() for name in ("postgres", "s3", "credentials.json")):
        raise ConfigurationError(f"{home} is not empty. Restore to another --home, or move this one away")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    _copy_small_files(folder / "home", home)
    output.note("Restoring the database …")
    EmbeddedServers.archive(home, Backups(folder, settings.backup_days)).restore(at)
    with EmbeddedServers(home) as servers:
        os.environ.update(servers.environment)
        named = settings.with_servers(**servers.urls)
        with open_database(named.server("database_url")) as engine:
            migrate(engine)
        _store(named).ensure_bucket()
        yield named


def _put_back(objects: Any, settings: "Settings") -> "Copied":
    from cli.backup import ledger
    from core.database import session_factory

    with open_database(settings.direct_database_url) as engine, session_factory(engine)() as session:
        belongs, hashes = ledger.belongs(session), ledger.hashes(session)
    done: Copied = objects.put_back(_store(settings), belongs, hashes)
    return done


def _store(settings: "Settings") -> "ObjectStore":
    from core.storage.object_store import ObjectStore

    return ObjectStore(settings.server("s3_endpoint_url"), settings.server("s3_bucket"))


def _copy_small_files(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in SMALL_FILES:
        if (source / name).exists():
            write_private(target / name, (source / name).read_text("utf-8"))


def _counts(done: "Copied") -> dict[str, Any]:
    return {
        "objects": done.objects,
        "bytes": done.bytes,
        "kept": done.kept,
        "gone": done.gone,
        "damaged": done.damaged,
    }


def _complain(how: str, done: "Copied") -> None:
    if wrong := [*done.gone, *done.damaged]:
        shown = "\n".join(f"  {key}" for key in wrong[:SHOWN])
        raise GaveUp(f"{len(wrong)} objects {how} and rows of the database name them. The first:\n{shown}")
