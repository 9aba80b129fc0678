"""Checks and conversions of files by a real process, as the worker starts it, from the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.api import Api, Tenant, dataset
from tests.fixtures.shell import Shell
from tests.fixtures.warm import nursery
from worker.tasks.service import Tasks


@pytest.fixture
def tasks(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Tasks]:
    """Run tasks as a worker does, in processes that start with their imports done."""
    settings = api.settings
    names = ("database_url", "s3_endpoint_url", "s3_bucket", "catalog_file")
    for name, value in {**{name: getattr(settings, name) for name in names}, "home": tmp_path}.items():
        monkeypatch.setenv(f"TUNERY_{name.upper()}", str(value))
    monkeypatch.setattr("worker.process.held_processes.subprocess", nursery().subprocess)
    tasks = Tasks(api.sessions, 1, ["check", "conversion"])
    tasks.start()
    yield tasks
    tasks.stop()


def test_the_command_line_has_a_local_file_checked_and_mended(
    api: Api, alice: Tenant, tasks: Tasks, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, {"TUNERY_BASE_URL": api.url, "TUNERY_API_KEY": alice.key})
    rows = dataset(12).splitlines(keepends=True)
    (tmp_path / "train.jsonl").write_bytes(b"".join([*rows, rows[0]]))
    (tmp_path / "valid.jsonl").write_bytes(rows[3])
    arguments = ("files", "check", "train.jsonl", "--validation", "valid.jsonl")
    check = shell.json(*arguments, "--mend")
    assert check["report"]["rows"] == 13
    mended = alice.http.get(f"/v1/files/{check['mended_file']}").json()
    assert mended["rows"] == 11
    shown = shell.run("files", "check", check["file_id"], "--max-length", "8")
    assert shown.returncode == 0, shown.stderr
    assert "exact_duplicate" in shown.stdout
    assert "row_cut" in shown.stdout
    assert "13 rows of kind chat" in shown.stderr


def test_the_command_line_has_a_local_file_converted(
    api: Api, alice: Tenant, tasks: Tasks, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, {"TUNERY_BASE_URL": api.url, "TUNERY_API_KEY": alice.key})
    (tmp_path / "train.csv").write_text("question,answer\nCapital of Peru?,Lima.\nRain?,No.\n")
    shown = shell.run("files", "convert", "train.csv")
    assert shown.returncode == 0, shown.stderr
    assert "question_answer" in shown.stdout
    assert "Capital of Peru?" in shown.stderr
    file_id = shown.stdout.split()[1]
    assert alice.http.get(f"/v1/files/{file_id}").json()["rows"] == 2
