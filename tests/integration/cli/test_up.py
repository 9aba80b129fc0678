"""`tunery up`: the real command with its real servers, started, stopped, killed and started again."""

import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from cli.client.home import Home
from cli.embedded import EmbeddedServers
from cli.up.children import child_of
from tests.fixtures.processes.ports import free_port
from tests.fixtures.service.up import (
    STOP_SECONDS,
    Up,
    kept_running,
    processes_of,
    running,
    tunery,
    until,
)

ROW = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n'


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield a state folder. Processes that a failed test leaves running in it are killed."""
    folder = tmp_path / "home"
    yield folder
    for process in processes_of(folder):
        process.kill()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def ups(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Up]]:
    """Yield what returns the service of the first tests of this file, started from nothing as a user's is."""
    with kept_running(tmp_path_factory.mktemp("service") / "home", warm=False) as up:
        yield up


@pytest.fixture
def service(ups: Callable[[], Up]) -> Up:
    return ups()


def test_makes_keys_in_the_database_of_the_running_up(service: Up) -> None:
    home = service.home
    made = tunery("keys", "create", "--project", "other", "--home", home, cwd=home.parent)
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert token not in made.stderr
    listed = tunery("files", "list", "--json", "--home", home, "--api-key", token, cwd=home.parent)
    assert (listed.returncode, json.loads(listed.stdout)) == (0, [])
    healthy = tunery("doctor", "--json", "--home", home, cwd=home.parent)
    states = {check["name"]: check["state"] for check in json.loads(healthy.stdout)["checks"]}
    assert {states[name] for name in ("database", "broker", "object store", "API")} == {"ok"}
    again = tunery("up", "--home", home, "--port", str(free_port()), cwd=home.parent)
    assert again.returncode == 2
    assert str(service.process.pid) in again.stderr


@pytest.mark.exhaustive
def test_starts_a_part_again_that_died(service: Up) -> None:
    for name in ("api", "worker", "serve"):
        died = service.part(name)
        died.kill()
        until(lambda gone=died: not gone.is_running(), "the part to die")  # type: ignore[misc]
        until(lambda part=name: _has_restarted(service, part), f"the {name} to start again")  # type: ignore[misc]
    said = service.stderr.read_text()
    steps = (
        "Starting Postgres, Valkey, S3 and the API",
        "Preparing the bucket and the tables",
        "The API is ready. Starting the worker, the server that answers chats",
    )
    places = [said.find(step) for step in steps]
    assert -1 < places[0] < places[1] < places[2]
    log = f"{service.home}/logs/api.log"
    assert f"The api died (killed by SIGKILL); starting it again in 0.5 s. Its log: {log}" in said
    until(lambda: _answers(service.base_url.replace("/v1", "/readyz")), "the API to be ready again")
    assert list(service.facts["metrics"]) == ["api", "worker", "serve"]
    until(lambda: all(map(_answers, service.facts["metrics"].values())), "metrics at the ports of before")


@pytest.mark.exhaustive
def test_stops_what_an_up_that_was_killed_alone_has_left(service: Up, port: int) -> None:
    """This test ends the shared service, so it is the last test that uses it."""
    left = [service.part(name) for name in ("api", "worker", "serve")]
    service.process.kill()
    service.process.wait(STOP_SECONDS)
    assert all(process.is_running() for process in left)
    with running(service.home, port) as again:
        assert not any(process.is_running() for process in left)
        assert again.get("/files").status_code == 200
    assert processes_of(service.home) == []


def test_keeps_files_and_key_over_a_restart_and_leaves_no_process(home: Path, port: int) -> None:
    dataset = home.parent / "train.jsonl"
    dataset.write_text(ROW * 10)
    with running(home, port) as up:
        assert httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=60, trust_env=False).status_code == 200
        assert Path(up.facts["api_key_file"]).stat().st_mode & 0o777 == 0o600
        assert (home / "environment").stat().st_mode & 0o777 == 0o600
        assert (home / "secret-keys").stat().st_mode & 0o777 == 0o600
        stored = tunery("secrets", "set", "A_SECRET", "--home", home, cwd=home.parent, input="x")
        assert stored.returncode == 0, stored.stderr
        uploaded = tunery("files", "upload", dataset, "--home", home, "--json", cwd=home.parent)
        assert uploaded.returncode == 0, uploaded.stderr
        key, seal = ((home / name).read_text() for name in ("api-key", "secret-keys"))
        assert f"TUNERY_SECRET_KEYS={seal}" in (home / "environment").read_text()
        assert {"api.log", "worker.log", "serve.log"} <= {path.name for path in (home / "logs").iterdir()}
        assert up.stop(signal.SIGTERM) == 0
    assert processes_of(home) == []
    assert not (home / "environment").exists()

    with running(home, port) as up:
        assert [(home / name).read_text() for name in ("api-key", "secret-keys")] == [key, seal]
        file = json.loads(uploaded.stdout)
        assert up.get(f"/files/{file['id']}/content").text == ROW * 10
        assert up.stop(signal.SIGINT) == 0
    assert processes_of(home) == []


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


def test_uses_the_servers_and_the_address_that_it_is_given(
    home: Path, port: int, servers: EmbeddedServers, database_url: str
) -> None:
    addresses = {f"TUNERY_{name.upper()}": url for name, url in servers.urls.items()}
    variables = addresses | {"TUNERY_DATABASE_URL": database_url} | servers.environment
    with running(home, port, "--host", "127.0.0.2", **variables) as up:
        assert up.base_url == f"http://127.0.0.2:{port}/v1"
        assert not _answers(f"http://127.0.0.1:{port}/readyz")
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
        return httpx.get(url, timeout=60, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _has_restarted(up: Up, name: str) -> bool:
    return child_of(Home(up.home), name).leader() is not None
