"""Backups of the embedded Postgres by pgBackRest, which also archives each segment of the write-ahead log."""

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError

STANZA = "tunery"  # pgBackRest's word for a cluster
ARCHIVE_SECONDS = 60
"""Postgres archives the log's last segment after so many seconds, also if it is not full."""
FULL_EACH = timedelta(days=7)  # the backups between hold what has changed since the one before
INSTALL = "pgBackRest is not installed. On Debian, it comes with `apt-get install pgbackrest`"
CONFIGURATION = """# Written at each start of Postgres
[global]
repo1-path={folder}/database
repo1-retention-full-type=time
repo1-retention-full={days}
repo1-bundle=y
compress-type=zst
start-fast=y
log-level-console=warn
log-level-file=off
lock-path={locks}

[{stanza}]
pg1-path={data}
pg1-port={port}
pg1-user={admin}
"""


@dataclass(frozen=True)
class Backups:
    """Where backups are kept, and for how many days."""

    folder: Path
    days: int


@dataclass(frozen=True)
class Archive:
    """pgBackRest for one cluster in `data`, with its backups in a folder.

    `account` is the beginning of each command, which runs it as the user of the cluster.
    """

    backups: Backups
    data: Path
    host: str
    port: int
    admin: str
    admin_password: str
    account: Sequence[str]

    @property
    def configuration(self) -> Path:
        return self.data.parent / "pgbackrest.conf"

    def prepare(self) -> None:
        """Write the configuration. Raises ConfigurationError if pgBackRest is not installed."""
        require_program()
        text = CONFIGURATION.format(
            folder=self.backups.folder,
            days=self.backups.days,
            locks=self.data.parent / "pgbackrest",
            stanza=STANZA,
            data=self.data,
            port=self.port,
            admin=self.admin,
        )
        self.configuration.write_text(text)

    def server_settings(self) -> dict[str, object]:
        """Return the settings with which Postgres archives its log."""
        push = shlex.join([require_program(), *self._options, "archive-push"]).replace("%", "%%")
        return {
            "archive_mode": "on",
            "archive_command": f"{push} %p",
            "archive_timeout": ARCHIVE_SECONDS,
        }

    def begin(self) -> None:
        """Make the folder ready for this cluster. Raises ConfigurationError if it has another one's."""
        self._run("stanza-create")

    def admin_url(self, url: str) -> str:
        """Return the URL of the same database for the administrator of the cluster."""
        from sqlalchemy.engine import make_url

        admin = make_url(url).set(username=self.admin, password=self.admin_password)
        return admin.render_as_string(hide_password=False)

    def back_up(self) -> str:
        """Back up the running cluster, and remove what is too old. Return the backup's name.

        It is a full backup if the last full one is older than FULL_EACH, and else what has changed. Each
        later time can be restored from it.
        """
        full = [each for each in self._list() if each["type"] == "full"]
        newest = max((each["timestamp"]["stop"] for each in full), default=0)
        is_due = datetime.now().timestamp() - newest > FULL_EACH.total_seconds()
        self._run("backup", f"--type={'full' if is_due else 'incr'}")
        made = self._list()[-1]
        # pgBackRest counts whole seconds: from the one in which a backup ends, it restores only later ones
        time.sleep(max(0.0, made["timestamp"]["stop"] + 1 - time.time()))
        return str(made["label"])

    def restore(self, at: datetime) -> None:
        """Make the folder `data`. When Postgres starts, it reads the log up to this time."""
        self.data.parent.mkdir(mode=0o700, parents=True)
        subprocess.run(
            [*self.account, "mkdir", "--mode=700", self.data], check=True
        )  # then the account owns it
        self.prepare()
        target = at.isoformat(sep=" ", timespec="microseconds")
        self._run("restore", "--type=time", f"--target={target}", "--target-action=promote")

    def _list(self) -> list[dict[str, Any]]:
        found = json.loads(self._run("info", "--output=json"))
        return list(found[0]["backup"]) if found else []

    @property
    def _options(self) -> list[str]:
        return [f"--config={self.configuration}", f"--stanza={STANZA}"]

    def _run(self, command: str, *options: str) -> str:
        address = {"PGHOST": self.host, "PGPASSWORD": self.admin_password}
        done = subprocess.run(
            [*self.account, require_program(), *self._options, *options, command],
            env={"PATH": os.defpath, "LC_ALL": "C", **address},
            cwd="/",
            capture_output=True,
            text=True,
        )
        if done.returncode:
            said = (done.stdout + done.stderr).strip()
            raise ConfigurationError(f"pgBackRest could not {command} ({self.configuration}):\n{said}")
        return done.stdout


def require_program() -> str:
    """Return the path of pgBackRest. Raises ConfigurationError if it is not installed."""
    if (program := shutil.which("pgbackrest")) is None:
        raise ConfigurationError(INSTALL)
    return program
