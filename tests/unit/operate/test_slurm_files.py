"""The files of variables that the pages show keep what a URL may have, and the page's times are right."""

import re
import subprocess
from pathlib import Path

from tests.fixtures.paths import REPOSITORY
from worker.process import stop_times

PAGE = (REPOSITORY / "docs/operate/slurm.md").read_text()


def read_by_bash(file: Path) -> dict[str, str]:
    """Return the variables that the batch script has after it has read the file."""
    command = 'set -euo pipefail; set -o allexport; source "$1"; exec /usr/bin/env -0'
    shown = subprocess.run(
        ["/bin/bash", "-c", command, "bash", file],
        capture_output=True,
        text=True,
        env={},
        check=True,
        timeout=30,
    ).stdout
    return dict(line.split("=", 1) for line in shown.split("\0") if line)


def sample() -> str:
    """Return the file of variables on the page."""
    (found,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return re.sub(r"^ +", "", found, flags=re.MULTILINE)


def test_the_batch_script_reads_the_sample_as_it_stands(tmp_path: Path) -> None:
    (file := tmp_path / "worker.env").write_text(sample())
    read = read_by_bash(file)
    written = {
        name: value.strip("'") for name, _, value in (line.partition("=") for line in sample().split())
    }
    assert written.items() <= read.items()
    assert read["TUNERY_DATABASE_URL"].endswith("?sslmode=require&connect_timeout=5")


def test_a_password_may_have_what_bash_would_replace(tmp_path: Path) -> None:
    password = "a&b$PATH`id`\\c;d #e"
    text = re.sub("…", lambda _: password, sample())
    (file := tmp_path / "worker.env").write_text(text)
    assert read_by_bash(file)["TUNERY_BROKER_URL"] == f"redis://:{password}@valkey.internal:6379/0"


def test_the_page_says_how_long_a_worker_needs_to_stop() -> None:
    assert f"a worker needs up to {stop_times.WORKER} s after SIGTERM" in PAGE
