"""The servers of `up`: the operator's own, or embedded ones, which are watched and started again."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.backup.folder import claim_for_home
from cli.client.home import Home, unfinished
from cli.client.output import note
from cli.up.restarts import Restarts, name_exit
from core.errors import ConfigurationError

if TYPE_CHECKING:
    from cli.embedded import EmbeddedServers
    from cli.embedded.stack import ServerName
    from core.settings import Settings


class WatchedServer:
    """An embedded server. After a restart it has its old address and data, and clients connect again."""

    def __init__(self, servers: "EmbeddedServers", name: "ServerName") -> None:
        self._servers, self._name = servers, name
        self._restarts = Restarts(f"server {name}", servers.log(name))
        self._restarts.started()
        self._start: Future[None] | None = None
        self._dead = False

    def tend(self) -> None:
        """If the server has died, start it again after a growing delay. Raises GaveUp."""
        if self._start is not None:
            if self._start.done():
                self._judge(self._start)
        elif self._dead:
            if self._restarts.due:
                self._start = self._servers.begin_restart(self._name)
        elif (code := self._servers.exit_code(self._name)) is not None:
            self._dead = True
            self._restarts.plan(name_exit(code))

    def _judge(self, start: Future[None]) -> None:
        self._start = None
        try:
            start.result()
        except ConfigurationError:  # the server's log says why
            self._restarts.plan("it could not be started", stillborn=True)
        else:
            self._dead = False
            self._restarts.started()
            note(f"The server {self._name} runs again")


@dataclass(frozen=True)
class Servers:
    """The servers of `up`, which may still be starting: their addresses are known before they answer.

    `settings` has every server's address, and `environment` the variables for the object store's client.
    """

    settings: "Settings"
    environment: Mapping[str, str]
    _embedded: "EmbeddedServers | None" = None

    def wait_until_ready(self) -> list[WatchedServer]:
        """Return the embedded servers, to be tended, once they answer. Raises ConfigurationError."""
        if self._embedded is None:
            return []
        self._embedded.wait_until_ready()
        return [WatchedServer(self._embedded, name) for name in self._embedded.names]


@contextmanager
def servers(settings: "Settings", home: Home, keys: Mapping[str, str]) -> "Iterator[Servers]":
    """Begin to start the embedded servers, unless the settings name the operator's own. Stop them at the end.

    A file in HOME gets all variables that a worker needs when it is started by hand. They include `keys`.
    """
    if not settings.needs_embedded_servers:
        home.environment.unlink(missing_ok=True)
        yield Servers(settings, {})
        return
    from cli.embedded import Backups, EmbeddedServers

    if unfinished(home.path).exists():
        raise ConfigurationError(f"A restore to {home.path} is not done: run `tunery restore` again")
    backups = None
    if settings.backup_folder:
        backups = Backups(settings.backup_folder.resolve(), settings.backup_days)
        claim_for_home(backups.folder, home.path)
    embedded = EmbeddedServers(home.path, backups)
    embedded.begin()
    try:
        addresses = {f"TUNERY_{name.upper()}": url for name, url in embedded.urls.items()}
        kept = {"TUNERY_BACKUP_FOLDER": str(backups.folder)} if backups else {}
        home.write_environment({**addresses, **kept, **embedded.environment, **keys})
        yield Servers(settings.with_servers(**embedded.urls), embedded.environment, embedded)
    finally:
        home.environment.unlink(missing_ok=True)
        embedded.stop()
