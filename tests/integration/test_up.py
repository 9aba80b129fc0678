"""`tunery up`: the real command with its real servers, started, stopped, killed and started again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cli import children
from core.embedded import EmbeddedServers

START_SECONDS = 90
STOP_SECONDS = 90
ROW = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n'


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TUNERY_", "AWS_"))}
    return clean | more


def tunery(*arguments: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, arguments)],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )


@dataclass
class Up:
    """A running `tunery up --json` and what it printed."""

    process: subprocess.Popen[str]
    home: Path
    stderr: Path
    facts: dict[str, Any]

    @property
    def base_url(self) -> str:
        return str(self.facts["base_url"])

    def get(self, path: str) -> httpx.Response:
        key = (self.home / "api-key").read_text().strip()
        return httpx.get(
            f"{self.base_url}{path}", headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False
        )

    def part(self, name: str) -> psutil.Process:
        process = children.read_record(self.home / "run" / f"{name}.json")
        assert process is not None
        return process

    def stop(self, *signals: signal.Signals) -> int:
        for number in signals:
            self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


def start(home: Path, port: int, **more: str) -> Up:
    home.parent.mkdir(parents=True, exist_ok=True)
    stderr = home.parent / "stderr.txt"
    with stderr.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up", "--home", str(home), "--port", str(port), "--json"],
            cwd=home.parent,
            env=environment(**more),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()  # ends when `up` does, so the test's own limit is the only one needed
    assert line, f"up ended with {process.wait(STOP_SECONDS)}: {stderr.read_text()}"
    return Up(process, home, stderr, json.loads(line))


@contextmanager
def running(home: Path, port: int, **more: str) -> Iterator[Up]:
    up = start(home, port, **more)
    try:
        yield up
    finally:
        if up.process.poll() is None:
            up.stop(signal.SIGTERM)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A state folder; whatever a failed test leaves running in it is killed."""
    folder = tmp_path / "home"
    yield folder
    for process in processes_of(folder):
        process.kill()


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes_of(home: Path) -> list[psutil.Process]:
    """Every process that names the state folder, or stands in it: ours, the servers', and their forks."""

    def belongs(process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            words = [process.cwd(), *process.cmdline(), *process.environ().values()]
        except (psutil.Error, OSError):
            return False
        return process.pid != os.getpid() and any(str(home) in word for word in words)

    return [process for process in psutil.process_iter() if belongs(process)]


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for: {what}"
        time.sleep(0.05)


def test_keeps_files_and_key_over_a_restart_and_leaves_no_process(home: Path, port: int) -> None:
    dataset = home.parent / "train.jsonl"
    dataset.write_text(ROW * 10)
    with running(home, port) as up:
        assert httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
        assert Path(up.facts["api_key_file"]).stat().st_mode & 0o777 == 0o600
        assert (home / "environment").stat().st_mode & 0o777 == 0o600
        uploaded = tunery("files", "upload", dataset, "--home", home, "--json", cwd=home.parent)
        assert uploaded.returncode == 0, uploaded.stderr
        key = (home / "api-key").read_text()
        assert {"api.log", "worker.log"} <= {path.name for path in (home / "logs").iterdir()}
        assert up.stop(signal.SIGTERM) == 0
    assert processes_of(home) == []
    assert not (home / "environment").exists()

    with running(home, port) as up:
        assert (home / "api-key").read_text() == key
        file = json.loads(uploaded.stdout)
        assert up.get(f"/files/{file['id']}/content").text == ROW * 10
        assert up.stop(signal.SIGINT) == 0
    assert processes_of(home) == []


def test_makes_keys_in_the_database_of_the_running_up(home: Path, port: int) -> None:
    with running(home, port) as up:
        made = tunery("keys", "create", "--project", "other", "--home", home, cwd=home.parent)
        assert made.returncode == 0, made.stderr
        token = made.stdout.strip()
        assert token not in made.stderr
        listed = tunery("files", "list", "--json", "--home", home, "--api-key", token, cwd=home.parent)
        assert (listed.returncode, json.loads(listed.stdout)) == (0, [])
        healthy = tunery("doctor", "--json", "--home", home, cwd=home.parent)
        states = {check["name"]: check["state"] for check in json.loads(healthy.stdout)["checks"]}
        assert {states[name] for name in ("database", "broker", "object store", "API")} == {"ok"}
        again = tunery("up", "--home", home, "--port", str(port), cwd=home.parent)
        assert again.returncode == 2
        assert str(up.process.pid) in again.stderr


def test_recovers_when_the_whole_tree_was_killed(home: Path, port: int) -> None:
    up = start(home, port)
    key = (home / "api-key").read_text()
    for process in [psutil.Process(up.process.pid), *processes_of(home)]:
        if process.is_running():
            process.kill()
    up.process.wait(STOP_SECONDS)
    with running(home, port) as again:
        assert again.get("/files").status_code == 200
        assert (home / "api-key").read_text() == key
    assert processes_of(home) == []


def test_stops_what_an_up_that_was_killed_alone_has_left(home: Path, port: int) -> None:
    up = start(home, port)
    left = [up.part("api"), up.part("worker")]
    up.process.kill()
    up.process.wait(STOP_SECONDS)
    assert all(process.is_running() for process in left)
    with running(home, port) as again:
        assert not any(process.is_running() for process in left)
        assert again.get("/files").status_code == 200
    assert processes_of(home) == []


def test_starts_a_part_again_that_died(home: Path, port: int) -> None:
    with running(home, port) as up:
        for name in ("api", "worker"):
            died = up.part(name)
            died.kill()
            until(lambda gone=died: not gone.is_running(), "the part to die")  # type: ignore[misc]
            until(lambda part=name: _has_restarted(up, part), f"the {name} to start again")  # type: ignore[misc]
        said = up.stderr.read_text()
        assert (
            f"The api died (killed by SIGKILL); starting it again in 0.5 s. Its log: {home}/logs/api.log"
            in said
        )
        until(lambda: _answers(f"http://127.0.0.1:{port}/readyz"), "the API to be ready again")


def test_a_port_in_use_is_named_before_anything_starts(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = tunery("up", "--home", home, "--port", str(port), cwd=home.parent)
    assert ended.returncode == 2
    assert f"Port {port}" in ended.stderr
    assert "--port" in ended.stderr
    assert ended.stdout == ""
    assert {path.name for path in home.iterdir()} == {"logs", "run"}
    assert processes_of(home) == []


def test_a_catalog_that_cannot_be_read_is_named_before_anything_starts(home: Path, port: int) -> None:
    missing = str(home.parent / "no-such-catalog.toml")
    ended = tunery("up", "--home", home, "--port", str(port), cwd=home.parent, TUNERY_CATALOG_FILE=missing)
    assert ended.returncode == 2
    assert missing in ended.stderr
    assert not home.exists()


def test_uses_the_servers_that_it_is_given(
    home: Path, port: int, servers: EmbeddedServers, database_url: str
) -> None:
    addresses = {f"TUNERY_{name.upper()}": url for name, url in servers.urls.items()}
    variables = addresses | {"TUNERY_DATABASE_URL": database_url} | servers.environment
    with running(home, port, **variables) as up:
        assert up.get("/files").json()["data"] == []
        made = {path.name for path in home.iterdir()}
        assert not made & {"postgres", "valkey", "s3", "environment"}
        assert up.stop(signal.SIGTERM) == 0
    assert processes_of(home) == []


def test_external_servers_named_only_in_part_are_a_usage_error(home: Path, port: int) -> None:
    ended = tunery(
        "up", "--home", home, "--port", str(port), cwd=home.parent, TUNERY_DATABASE_URL="postgresql://db/x"
    )
    assert ended.returncode == 2
    assert "TUNERY_BROKER_URL" in ended.stderr


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _has_restarted(up: Up, name: str) -> bool:
    process = children.read_record(up.home / "run" / f"{name}.json")
    return process is not None and process.is_running()
