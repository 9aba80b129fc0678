"""What `tunery backup` and `tunery restore` refuse before they do anything."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from cli.backup.folder import claim_for_home
from cli.backup.objects import Objects
from cli.client.home import Home
from cli.commands.backups import backup, restore
from core.errors import ConfigurationError

NOW = datetime.now(UTC)
EXTERNAL = {
    "TUNERY_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "TUNERY_BROKER_URL": "redis://127.0.0.1:1/0",
    "TUNERY_S3_ENDPOINT_URL": "http://127.0.0.1:1",
    "TUNERY_S3_BUCKET": "tunery",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one backup."""
    (folder := tmp_path / "backups").mkdir(mode=0o700)
    with Objects.at(folder) as objects:
        objects.note(NOW - timedelta(hours=1), {})
    return folder


def refused(command: Callable[[], None], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        command()


def test_a_running_up_is_backed_up_to_its_own_folder_only(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(lambda: backup(tmp_path), "No `tunery up` runs")
    Home(tmp_path).write_environment({"TUNERY_DATABASE_URL": "postgresql://x"})
    refused(lambda: backup(tmp_path), "start it again with it")
    Home(tmp_path).write_environment({"TUNERY_BACKUP_FOLDER": str(folder)})
    monkeypatch.setenv("TUNERY_BACKUP_FOLDER", str(tmp_path / "another"))
    refused(lambda: backup(tmp_path), f"TUNERY_BACKUP_FOLDER={folder}")


def test_a_restore_goes_to_a_time_that_the_backups_reach(tmp_path: Path, folder: Path) -> None:
    for at in (NOW - timedelta(hours=2), NOW + timedelta(hours=1)):
        refused(partial(restore, folder, tmp_path / "home", at=at), "the backups reach from")
    assert not (tmp_path / "home").exists()


def test_the_database_of_external_servers_is_not_restored_to_a_time(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in EXTERNAL.items():
        monkeypatch.setenv(name, value)
    refused(lambda: restore(folder, tmp_path / "home", at=NOW), "Restore yours to that time first")


def test_a_home_with_the_mark_of_a_folder_is_not_empty(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once restored, it would write to the folder from which it came."""
    (home := tmp_path / "home").mkdir()
    claim_for_home(folder, home)
    (program := tmp_path / "pgbackrest").touch(0o700)
    monkeypatch.setenv("PATH", str(program.parent))
    refused(lambda: restore(folder, home), "is not empty")
