"""A release before the newest migration and the present one, side by side while the database migrates."""

import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from cli.embedded import EmbeddedServers
from core.database import create_database, session_factory
from core.schema import LOCK_TIMEOUT, MIGRATIONS, alembic_config, is_current, migrate
from core.secrets.vault import Vault
from core.settings import Settings
from tests.fixtures.faults import old_release
from tests.fixtures.paths import REPOSITORY
from tests.fixtures.processes.ports import free_port
from tests.fixtures.service.api import BASE_MODEL, CATALOG, dataset, running_api, wait_for
from tests.fixtures.service.servers import database_on

SECONDS = 240  # deadline of each thing that is waited for
PARTS = ("api", "cli", "core", "migrations", "worker")
VERSIONS = "migrations/versions/"
JOBS = "/v1/fine_tuning/jobs"
# A migration waits for a lock no longer than LOCK_TIMEOUT, and requests may wait behind it
MOST_SECONDS = LOCK_TIMEOUT / 1000 + 2  # longer than the slowest request without a migration


def git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this checkout has no history of the migrations, so there is no older release: {error}")


def release_before() -> str | None:
    """Return the newest commit with fewer migrations than now, all of which are the present ones."""
    present = {file.name for file in (MIGRATIONS / "versions").glob("*.py")}
    for commit in git("rev-list", "HEAD", "--", VERSIONS).decode().split():
        names = {Path(path).name for path in git("ls-tree", "--name-only", commit, VERSIONS).decode().split()}
        if names < present and len(heads(commit)) == 1:
            return commit
    return None


def heads(commit: str) -> set[str]:
    """Return the migrations behind which no other one comes."""
    lines = git("grep", "-hE", "^(down_)?revision = ", commit, "--", VERSIONS).decode().splitlines()
    named = [line.partition(" = ") for line in lines]
    behind = {name for key, _, name in named if key == "down_revision"}
    return {name for key, _, name in named if key == "revision"} - behind


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the code of a release before the newest migration."""
    commit = release_before()
    if commit is None:
        pytest.skip("no commit has the migrations but the newest ones, so there is no older release")
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=BytesIO(git("archive", commit, *PARTS))) as archive:
        archive.extractall(folder, filter="data")
    return folder


class Load:
    """Clients that upload, create, look, pause, resume and cancel until they are stopped."""

    def __init__(self, key: str) -> None:
        self._headers = {"authorization": f"Bearer {key}"}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.wrong: list[str] = []
        self.rounds: dict[str, int] = {}
        self.slowest = 0.0

    def begin(self, url: str) -> None:
        """Let two clients of this server begin."""
        self.rounds[url] = 0
        threads = [threading.Thread(target=self._run, args=(url,)) for _ in range(2)]
        self._threads += threads
        for thread in threads:
            thread.start()

    def more_rounds(self, url: str, rounds: int = 4) -> None:
        wanted = self.rounds[url] + rounds
        wait_for(lambda: self.rounds[url] >= wanted or self.wrong, SECONDS)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, url: str) -> None:
        with httpx.Client(base_url=url, headers=self._headers, timeout=60) as http:
            while not self._stopping.is_set():
                try:
                    self._round(http)
                    self.rounds[url] += 1
                except (httpx.HTTPError, KeyError) as error:
                    self.wrong.append(repr(error))
                    return

    def _round(self, http: httpx.Client) -> None:
        content = {"file": ("train.jsonl", dataset(12))}
        file = self._ask(http, "POST", "/v1/files", data={"purpose": "fine-tune"}, files=content)["id"]
        asked = {"model": BASE_MODEL, "training_file": file}
        self._ask(http, "POST", JOBS, json=asked)  # it waits for the worker
        job = self._ask(http, "POST", JOBS, json=asked)["id"]
        self._ask(http, "GET", f"{JOBS}/{job}")
        self._ask(http, "GET", JOBS)
        self._ask(http, "GET", f"{JOBS}/{job}/events")
        self._ask(http, "POST", f"{JOBS}/{job}/pause", may=(400,))  # 400 where a claim has come between
        self._ask(http, "POST", f"{JOBS}/{job}/resume", may=(400,))
        self._ask(http, "POST", f"{JOBS}/{job}/cancel", headers={"idempotency-key": uuid4().hex})
        self._ask(http, "DELETE", f"{JOBS}/{job}")

    def _ask(self, http: httpx.Client, method: str, path: str, may: tuple[int, ...] = (), **body: Any) -> Any:
        began = time.monotonic()
        answer = http.request(method, path, **body)
        self.slowest = max(self.slowest, time.monotonic() - began)
        if answer.status_code not in (200, *may):
            self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()


@contextmanager
def old_process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        cwd=environment["PYTHONPATH"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


def test_two_releases_answer_side_by_side_while_the_database_migrates(
    servers: EmbeddedServers, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in servers.environment.items():
        monkeypatch.setenv(name, value)
    catalog = tmp_path / "catalog.toml"
    first, *_others = CATALOG.split("[[model]]")[1:]  # an older release may not know the others' fields
    catalog.write_text(f"[[model]]{first}")
    with database_on(servers) as url:
        engine = create_database(url)
        head = ScriptDirectory(str(old / "migrations")).get_current_head()
        command.upgrade(alembic_config(engine), str(head))
        keys, port = Vault.new_key(), free_port()
        environment = {f"TUNERY_{name.upper()}": value for name, value in servers.urls.items()} | {
            "TUNERY_DATABASE_URL": url,
            "TUNERY_CATALOG_FILE": str(catalog),
            "TUNERY_SECRET_KEYS": keys,
            "TUNERY_HOME": str(tmp_path),
            "PYTHONPATH": str(old),
        }
        script = str(Path(old_release.__file__))
        with old_process(script, "key", **environment) as process:
            load = Load(process.communicate(timeout=SECONDS)[0].strip())
        old_url = f"http://127.0.0.1:{port}"
        serve = ("-m", "cli.main", "api", "--port", str(port))
        with (
            old_process(*serve, **environment),
            old_process(script, "claims", **environment) as claims,
        ):
            wait_for(lambda: answers(old_url), SECONDS)
            try:
                load.begin(old_url)
                load.more_rounds(old_url)
                usual = load.slowest
                migrate(engine)
                load.more_rounds(old_url)
                settings = Settings(
                    **{**servers.urls, "database_url": url}, catalog_file=catalog, secret_keys=keys
                )
                with running_api(settings, session_factory(engine)) as new:
                    load.begin(new.url)
                    load.more_rounds(new.url)
                    load.more_rounds(old_url)
                    load.stop()
                assert is_current(engine)
            finally:
                load.stop()
            slowest_claim = float(claims.communicate(timeout=SECONDS)[0])
        engine.dispose()
    assert load.wrong == []
    slow = f"slowest request {load.slowest:.2f} s, before {usual:.2f} s, slowest claim {slowest_claim:.2f} s"
    print(f"from {head}; {slow}")
    assert max(load.slowest, slowest_claim) < MOST_SECONDS + usual
