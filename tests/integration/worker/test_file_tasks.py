"""Checks and conversions of files by a real process, as the worker starts it, from the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.processes.tasks import WarmTasks, variables_of
from tests.fixtures.service.api import Api, Tenant, dataset
from tests.fixtures.service.shell import Shell


@pytest.fixture(autouse=True)
def tasks(api: Api, tmp_path: Path) -> Iterator[WarmTasks]:
    with WarmTasks(api.sessions, ["check", "conversion"], variables_of(api.settings, home=tmp_path)) as tasks:
        yield tasks


def test_the_command_line_has_a_local_file_checked_and_mended(
    api: Api, alice: Tenant, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, {"TUNERY_BASE_URL": api.url, "TUNERY_API_KEY": alice.key})
    rows = dataset(12).splitlines(keepends=True)
    said = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "ann.lee@gmail.com"}]
    last = json.dumps({"messages": said}).encode() + b"\n"
    (tmp_path / "train.jsonl").write_bytes(b"".join([*rows, rows[0], last]))
    (tmp_path / "valid.jsonl").write_bytes(rows[3])
    arguments = ("files", "check", "train.jsonl", "--validation", "valid.jsonl")
    check = shell.json(*arguments, "--mend")
    assert check["report"]["rows"] == 14
    mended = alice.http.get(f"/v1/files/{check['mended_file']}").json()
    assert mended["rows"] == 12
    shown = shell.run("files", "check", check["file_id"], "--max-length", "8")
    assert shown.returncode == 0, shown.stderr
    assert "exact_duplicate" in shown.stdout
    assert "messages[1].content" in shown.stdout
    assert "row_cut" in shown.stdout
    assert "14 rows of kind chat, found as chat in jsonl" in shown.stderr


def test_the_command_line_has_a_local_file_converted(api: Api, alice: Tenant, tmp_path: Path) -> None:
    shell = Shell(tmp_path, {"TUNERY_BASE_URL": api.url, "TUNERY_API_KEY": alice.key})
    (tmp_path / "train.csv").write_text("question,answer\nCapital of Peru?,Lima.\nRain?,No.\n")
    shown = shell.run("files", "convert", "train.csv")
    assert shown.returncode == 0, shown.stderr
    assert "question_answer" in shown.stdout
    assert '"content": "Capital of Peru?"' in shown.stderr  # as JSON
    file_id = shown.stdout.split()[1]
    assert alice.http.get(f"/v1/files/{file_id}").json()["rows"] == 2
