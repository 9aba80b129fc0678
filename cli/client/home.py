"""The state folder, in which `up` leaves files for the other commands.

api-key       the first key of project "default", mode 0600
secret-keys   the keys that encrypt stored secrets, unless TUNERY_SECRET_KEYS is set, mode 0600
base-url      the address of the API that the last `up` started
environment   while embedded servers run: the variables for a worker that is started by hand (TUNERY_* and
              AWS_*, also the secret keys), mode 0600
backups       whose folder of backups it is: the folder's mark, and its path
restoring     while `tunery restore` is not done
logs/         the output of the parts; at a start, and beyond 64 MiB, a log moves to NAME.log.1
run/          records of the processes that `up` has started, and metrics-targets.json: where Prometheus finds
              their metrics
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.private_files import write_private
from core.errors import ConfigurationError

if TYPE_CHECKING:
    from core.settings import Settings

DEFAULT_HOME = Path(".tunery")

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="TUNERY_HOME", help="State folder of `tunery up`", file_okay=False)
]


@dataclass(frozen=True)
class Home:
    """The files of one state folder. None of them needs to exist."""

    path: Path

    @property
    def api_key(self) -> Path:
        return self.path / "api-key"

    @property
    def secret_keys(self) -> Path:
        return self.path / "secret-keys"

    @property
    def base_url(self) -> Path:
        return self.path / "base-url"

    @property
    def environment(self) -> Path:
        return self.path / "environment"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def metrics_targets(self) -> Path:
        return self.run / "metrics-targets.json"

    def create(self) -> None:
        """Create the folders, readable only by their owner. Raises ConfigurationError."""
        try:
            for folder in (self.path, self.logs, self.run):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be used: {error}. Choose another --home") from error

    def read_environment(self) -> dict[str, str]:
        """Return the variables of the servers that a running `up` has started. Without one, return none."""
        lines = (read(self.environment) or "").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def write_environment(self, variables: Mapping[str, str]) -> None:
        lines = "".join(f"{name}={value}\n" for name, value in sorted(variables.items()))
        write_private(self.environment, lines)


def unfinished(home: Path) -> Path:
    """Return the file that is there while `tunery restore` has not brought everything back to the home."""
    return home / "restoring"


def read(path: Path) -> str | None:
    """Return the text of the file without its last newline, or None if it is missing or empty."""
    try:
        return path.read_text("utf-8").rstrip("\n") or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error


def load_settings(**chosen: Any) -> "Settings":
    """Return the operator's settings. `chosen` are options of the command line; None means not given.

    Raises ConfigurationError; its message names the variable.
    """
    from pydantic import ValidationError

    from core.settings import PREFIX, Settings

    try:
        return Settings(**{name: value for name, value in chosen.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name, *inside = (str(part) for part in first["loc"])
        where = f" at {'.'.join(inside)}" if inside else ""
        variable = f"{PREFIX}{name.upper().removeprefix(PREFIX)}"
        raise ConfigurationError(f"{variable}{where}: {first['msg']}") from error


def named_servers(settings: "Settings", home: Path) -> "Settings":
    """Return the settings with the addresses of a running `up`, unless they name servers of their own.

    This process then has its credentials of the object store, too.
    """
    from core.settings import SERVER_FIELDS

    running = Home(home).read_environment()
    if not running or any(getattr(settings, name) is not None for name in SERVER_FIELDS):
        return settings
    os.environ.update({name: value for name, value in running.items() if name.startswith("AWS_")})
    return settings.with_servers(**{name: running[f"TUNERY_{name.upper()}"] for name in SERVER_FIELDS})
