"""Runs the three servers together, under one folder that has one owner at a time."""

import fcntl
import json
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Literal, Self

from cli.embedded.archive import Archive, Backups
from cli.embedded.ports import PortClaim
from cli.embedded.postgres import Postgres
from cli.embedded.process import Server
from cli.embedded.s3 import BUCKET, GRPC_OFFSET, S3, is_blocked
from cli.embedded.valkey import Valkey
from cli.private_files import write_private
from core.errors import ConfigurationError

ServerName = Literal["postgres", "valkey", "s3"]

ANY_PORT = 5432  # Not used: pgBackRest reads the port from its configuration.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Credentials:
    """Secrets of one home. They are made once, because the servers store them with their data."""

    database_password: str
    database_admin_password: str
    broker_password: str
    s3_access_key: str
    s3_secret_key: str

    @classmethod
    def random(cls) -> Self:
        return cls(
            database_password=secrets.token_hex(24),
            database_admin_password=secrets.token_hex(24),
            broker_password=secrets.token_hex(24),
            s3_access_key=f"TUNERY{secrets.token_hex(7).upper()}",  # 20 characters, as AWS's
            s3_secret_key=secrets.token_hex(24),
        )


class EmbeddedServers:
    """Runs the three servers under `home` while the context lasts.

    Data, passwords and logs stay in `home`, and the next start uses them again. The next start also stops
    servers whose owner was killed. A home has one owner at a time. While the servers run, SIGTERM and SIGHUP
    raise SystemExit in the owner, so that its contexts end and the servers stop. An owner that handles these
    signals itself keeps its handlers.
    """

    def __init__(self, home: Path, backups: Backups | None = None) -> None:
        """Name the folder of the servers, and the one in which Postgres archives its log, if it does."""
        self.home, self._backups = home.resolve(), backups
        self._servers: dict[ServerName, Server] = {}
        self._urls: dict[str, str] = {}
        self._environment: dict[str, str] = {}
        self._lock: int | None = None
        self._ports: PortClaim | None = None
        self._starts = ThreadPoolExecutor()
        self._first_starts: list[Future[None]] = []
        self._failures: list[Exception] = []
        self._abandoned = threading.Event()
        self._replaced_handlers: list[signal.Signals] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def names(self) -> list[ServerName]:
        return list(self._servers)

    @property
    def urls(self) -> dict[str, str]:
        """database_url, broker_url, s3_endpoint_url and s3_bucket, for `Settings.with_servers`."""
        return dict(self._urls)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which boto3 finds the credentials of the store."""
        return dict(self._environment)

    def start(self) -> None:
        """Start all three servers, and return once each has served a real request.

        Raises ConfigurationError if `home` is in use or not writable, or if a server does not start.
        """
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        """Begin to start all three servers, each in a thread. From now on their addresses are known.

        Raises ConfigurationError if `home` is in use or not writable.
        """
        self._take_lock()
        try:
            self._exit_on_signals()
            self._configure()
            self._begin_all()
        except BaseException:
            self.stop()
            raise

    def wait_until_ready(self) -> None:
        """Return once each server has served a real request.

        Raises ConfigurationError if a server does not start; all three have been stopped then.
        """
        try:
            wait(self._first_starts)
        except BaseException:
            self.stop()
            raise
        if self._failures:
            self.stop()
            raise self._failures[0]

    def stop(self) -> None:
        """Stop all three servers. Signals that arrive meanwhile are delivered afterwards."""
        try:
            with _signals_deferred():
                self._stop_all()
        finally:
            for number in self._replaced_handlers:
                signal.signal(number, signal.SIG_DFL)
            self._replaced_handlers = []

    def restart(self, name: ServerName) -> None:
        """Stop one server and start it at the same address. Raises ConfigurationError if that fails."""
        self._servers[name].start()

    def exit_code(self, name: ServerName) -> int | None:
        """Return the exit code of one server, None while it runs."""
        return self._servers[name].exit_code

    def log(self, name: ServerName) -> Path:
        return self._servers[name].log

    def begin_restart(self, name: ServerName) -> Future[None]:
        """Run `restart` in another thread. `stop` gives it up."""
        return self._starts.submit(self._servers[name].start, self._abandoned)

    def kill(self, name: ServerName) -> None:
        """Kill all processes of one server, to simulate a crash."""
        self._servers[name].kill()

    @staticmethod
    def archive(home: Path, backups: Backups) -> Archive:
        """Return what backs up or restores the Postgres of a home whose credentials are there."""
        credentials = Credentials(**json.loads((home / "credentials.json").read_text()))
        postgres = Postgres(
            home.resolve(),
            ANY_PORT,
            password=credentials.database_password,
            admin_password=credentials.database_admin_password,
        )
        return postgres.archive_in(backups)

    def _take_lock(self) -> None:
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"{self.home} cannot be used: {error}. Set another TUNERY_HOME."
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 32).decode() or "unknown"
            os.close(lock)
            raise ConfigurationError(
                f"Process {owner} already runs the servers in {self.home}. "
                "Stop it, or set another TUNERY_HOME."
            ) from None
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock

    def _exit_on_signals(self) -> None:
        """Let signals that would end this process at once raise SystemExit, so that its contexts end."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, _exit)
                    self._replaced_handlers.append(number)

    def _configure(self) -> None:
        credentials = self._credentials()
        self._ports = PortClaim(2 + S3.PORTS, offset=GRPC_OFFSET, is_blocked=is_blocked)
        first = self._ports.first
        postgres = Postgres(
            self.home,
            first,
            password=credentials.database_password,
            admin_password=credentials.database_admin_password,
            backups=self._backups,
        )
        valkey = Valkey(self.home, first + 1, password=credentials.broker_password)
        s3 = S3(
            self.home,
            first + 2,
            access_key=credentials.s3_access_key,
            secret_key=credentials.s3_secret_key,
        )
        self._servers = {"postgres": postgres, "valkey": valkey, "s3": s3}
        self._urls = {
            "database_url": postgres.url,
            "broker_url": valkey.url,
            "s3_endpoint_url": s3.url,
            "s3_bucket": BUCKET,
        }
        self._environment = s3.client_environment

    def _credentials(self) -> Credentials:
        path = self.home / "credentials.json"
        if path.exists():
            return Credentials(**json.loads(path.read_text()))
        if (self.home / "postgres" / "data").exists():
            raise ConfigurationError(
                f"{path} is missing, and the data in {self.home} cannot be opened without it. "
                "Restore it from a backup, or set another TUNERY_HOME to begin anew."
            )
        made = Credentials.random()
        write_private(path, json.dumps(asdict(made), indent=2))
        return made

    def _begin_all(self) -> None:
        def start(server: Server) -> None:
            try:
                server.start(self._abandoned)
            except Exception as error:
                self._failures.append(error)  # before the others give up: the first failure is the cause
                self._abandoned.set()

        self._abandoned.clear()
        self._failures = []
        self._starts = ThreadPoolExecutor(len(self._servers))
        self._first_starts = [self._starts.submit(start, server) for server in self._servers.values()]

    def _stop_all(self) -> None:
        if self._lock is None:
            return
        self._abandoned.set()
        self._starts.shutdown()  # from here on, no server is being started
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda server: server.stop(), self._servers.values()))
        finally:
            if self._ports is not None:
                self._ports.close()
            os.close(self._lock)
            self._lock = None


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Hold back the signals that end a process until the block is done. Other threads never get them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handlers = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number in ENDING_SIGNALS:
        if handlers[number] not in (signal.SIG_IGN, None):
            signal.signal(number, lambda number, _frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)
        for arrived in received:
            signal.raise_signal(arrived)
