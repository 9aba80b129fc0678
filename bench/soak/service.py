"""The service under test: servers, lines to them that break, `tunery up`, and a second worker."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from bench import ROOT
from bench.soak.programs import Keeper, Popen, Program
from bench.training.running import free_port
from cli.embedded import EmbeddedServers
from core.access.keys import create_key
from core.access.projects import find_or_create_project
from core.catalog import load_catalog
from core.database import create_database, session_factory
from core.roles import Role
from core.schema import migrate
from core.secrets.vault import Vault
from core.storage.object_store import ObjectStore
from faults.history import record_history
from faults.picky_store import picky_store_to
from faults.receiver import receiving
from faults.relay import Relay

MARK = "TUNERY_SOAK_IN"  # a variable that all processes of the service inherit; its value is the folder
READY_SECONDS = 300.0
KINDS = {
    "up": ("cli.main", "up"),
    "api": ("cli.main", "api"),
    "worker": ("cli.main", "worker"),
    "trainer": ("-m", "worker.trainer.train.trainer"),
    "render process": ("-m", "worker.rendering.render_process"),
}


class Service:
    """Everything that runs, and direct ways to it that no fault touches: `sessions` and `store`."""

    def __init__(self, folder: Path, settings: Mapping[str, str], popen: Popen, stack: ExitStack) -> None:
        self.folder = folder
        catalog = settings.get("TUNERY_CATALOG_FILE")
        self.base_models = [entry.id for entry in load_catalog(Path(catalog) if catalog else None)]
        self.servers = stack.enter_context(EmbeddedServers(folder / "servers"))
        urls = self.servers.urls
        self.database_line = stack.enter_context(Relay.to(urls["database_url"]))
        self.broker_line = stack.enter_context(Relay.to(urls["broker_url"]))
        self.picky_store = stack.enter_context(picky_store_to(urls["s3_endpoint_url"]))
        self.store_line = stack.enter_context(Relay.to(self.picky_store.url))
        self.receiver = stack.enter_context(receiving())
        port = free_port()
        self.api_line = stack.enter_context(Relay.to(f"http://127.0.0.1:{port}"))
        self._open_direct_ways(stack)
        environment = self._environment(settings)
        self.up = Program("up", self._up(port), environment, folder, popen)
        worker = {**environment, "TUNERY_HOME": str(folder / "second-worker")}
        self.worker = Program("second-worker", ["worker"], worker, folder, popen)
        self.programs = [self.up, self.worker]
        self.keeper = stack.enter_context(Keeper(self.programs))

    def _open_direct_ways(self, stack: ExitStack) -> None:
        engine = create_database(self.servers.urls["database_url"])
        stack.callback(engine.dispose)
        migrate(engine)
        self.sessions = session_factory(engine)
        with self.sessions.begin() as session:
            record_history(session)
            greedy = find_or_create_project(session, "greedy")
            self.greedy_key = create_key(session, greedy, "soak", Role.ADMIN, None).value
        os.environ.update(self.servers.environment)
        self.store = ObjectStore(self.servers.urls["s3_endpoint_url"], self.servers.urls["s3_bucket"])
        self.store.ensure_bucket()

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        (self.folder / "tmp").mkdir()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNERY_")}
        addresses = {
            "TUNERY_DATABASE_URL": self.database_line.url,
            "TUNERY_BROKER_URL": self.broker_line.url,
            "TUNERY_S3_ENDPOINT_URL": self.store_line.url,
            "TUNERY_S3_BUCKET": self.servers.urls["s3_bucket"],
            "TUNERY_SECRET_KEYS": Vault.new_key(),
            "TUNERY_PORTABILITY_AT_PUBLICATION": "false",  # it would only slow the jobs down
        }
        own = {"TMPDIR": str(self.folder / "tmp"), "PYTHONPATH": str(ROOT), MARK: str(self.folder)}
        return clean | self.servers.environment | addresses | own | dict(settings)

    def _up(self, port: int) -> list[str]:
        return ["up", "--home", str(self.folder / "up"), "--port", str(port), "--json"]

    @property
    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.api_line.url}/readyz", timeout=5, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def find(self, kind: str) -> list[psutil.Process]:
        """Return the living processes of one of KINDS."""
        return [process for process in self.processes() if _is(process, KINDS[kind])]

    def processes(self) -> list[psutil.Process]:
        """Return all living processes that `tunery up` and the second worker have started."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            words = process.cmdline()
            return bool(words) and "-m" in words and process.environ().get(MARK) == str(self.folder)
        except (psutil.Error, OSError):
            return False

    def thaw(self) -> None:
        """Let every process that a fault has frozen go on."""
        for process in self.processes():
            send(process, signal.SIGCONT)

    def mend_lines(self) -> None:
        """End everything that lines and the store were told to do."""
        for line in (self.database_line, self.broker_line, self.store_line, self.api_line):
            line.delay, line.loss, line.silent = 0.0, 0.0, False
        self.picky_store.refuses = lambda *_: False
        self.receiver.statuses.clear()


@contextmanager
def running(folder: Path, settings: Mapping[str, str], popen: Popen) -> Iterator[Service]:
    """Yield a running service with all its data in `folder`. All its processes end after the block."""
    with ExitStack() as stack:
        yield Service(folder, settings, popen, stack)


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended."""
    with suppress(psutil.Error):
        process.send_signal(number)


def _is(process: psutil.Process, words: tuple[str, str]) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return any(tuple(command[at : at + 2]) == words for at in range(len(command)))
