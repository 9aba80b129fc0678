"""A service that is lost with its folder, and brought back from its backups to an empty folder."""

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import NotFoundError, OpenAI
from sqlalchemy.orm import Session, sessionmaker

from cli.client.home import Home
from core.database import create_database, session_factory
from core.storage.object_store import ObjectStore
from faults.checker import Client, check
from faults.history import record_history
from tests.fixtures.clients.debian import program as program_of
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.processes.ports import free_port
from tests.fixtures.service.servers import server_folder
from tests.fixtures.service.stack import JOB_SECONDS, short_rows
from tests.fixtures.service.up import Up, kill_all, processes_of, running, tunery, until

pytestmark = pytest.mark.exhaustive


class Tenant:
    """The project of a running `up`, as the checker and a client of OpenAI see it."""

    def __init__(self, up: Up) -> None:
        key = (up.home / "api-key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        self.http = httpx.Client(
            base_url=up.base_url.removesuffix("/v1"), headers=headers, timeout=60, trust_env=False
        )
        self.openai = OpenAI(base_url=up.base_url, api_key=key)

    def upload(self, rows: int) -> str:
        return self.openai.files.create(file=("train.jsonl", short_rows(rows)), purpose="fine-tune").id

    def train(self, file: str) -> str:
        job = self.openai.fine_tuning.jobs.create(
            model=TINY,
            training_file=file,
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}},
        )
        jobs = self.openai.fine_tuning.jobs
        until(lambda: jobs.retrieve(job.id).status == "succeeded", "the job", JOB_SECONDS)
        return job.id

    def weights(self, job_id: str) -> str:
        """Return the hash of the weights that a client downloads."""
        adapter = self.http.get(f"/v1/fine_tuning/jobs/{job_id}").json()["adapter_id"]
        answer = self.http.get(f"/v1/adapters/{adapter}/content")
        archive = zipfile.ZipFile(io.BytesIO(answer.content))
        return hashlib.sha256(archive.read("adapter_model.safetensors")).hexdigest()


class Stored:
    """What the checker looks at."""

    def __init__(self, up: Up, sessions: sessionmaker[Session]) -> None:
        named = Home(up.home).read_environment()
        self.sessions = sessions
        self.store = ObjectStore(named["TUNERY_S3_ENDPOINT_URL"], named["TUNERY_S3_BUCKET"])


@contextmanager
def stored(up: Up) -> Iterator[Stored]:
    named = Home(up.home).read_environment()
    engine = create_database(named["TUNERY_DATABASE_URL"])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in named.items():
            if name.startswith("AWS_"):
                patch.setenv(name, value)
        yield Stored(up, session_factory(engine))
    engine.dispose()


def run(*arguments: str | Path, cwd: Path, **variables: str) -> dict[str, Any]:
    done = tunery(*arguments, "--json", cwd=cwd, **variables)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def new_folder(path: Path) -> Path:
    path.mkdir(mode=0o700)
    return path


def test_what_was_backed_up_comes_back_to_an_empty_folder_and_goes_on(tmp_path: Path) -> None:
    """At the last backup, and at an earlier time, whose file was deleted since.

    What was restored has a folder of backups of its own, from which it is restored too.
    """
    program_of(["pgbackrest"], ["pgbackrest"])
    backups = new_folder(tmp_path / "backups")
    variables = {"TUNERY_CATALOG_FILE": str(write_base(tmp_path)), "TUNERY_SCAN_SECONDS": "0.5"}
    first = {**variables, "TUNERY_BACKUP_FOLDER": str(backups)}
    second = {**variables, "TUNERY_BACKUP_FOLDER": str(new_folder(tmp_path / "second"))}
    third = {**variables, "TUNERY_BACKUP_FOLDER": str(new_folder(tmp_path / "third"))}
    with server_folder() as folder, running(folder / "home", free_port(), **first) as up:
        tenant = Tenant(up)
        client = Client(tenant)
        with stored(up) as service, service.sessions.begin() as session:
            record_history(session)
        deleted, file = tenant.upload(13), tenant.upload(12)
        job = tenant.train(file)
        weights = tenant.weights(job)
        run("backup", "--home", up.home, cwd=tmp_path, **first)
        before = datetime.now(UTC)
        tenant.openai.files.delete(deleted)
        later = tenant.upload(14)
        last = run("backup", "--home", up.home, cwd=tmp_path, **first)
        assert last["objects"] == 1, "what was there was copied again"
        lost = tenant.upload(15)
        kill_all(up)
        until(lambda: not processes_of(up.home), "the end of all processes")
        shutil.rmtree(up.home)

        (up.home / "s3").mkdir(parents=True)
        (up.home / "restoring").touch()  # as a restore that broke off
        told = run("restore", backups, "--home", up.home, cwd=tmp_path)
        assert told["at"] == last["at"]
        refused = tunery("up", "--home", up.home, "--port", str(free_port()), cwd=tmp_path, **first)
        assert "new, empty folder" in refused.stderr, "it would write into the backups that it came from"
        with running(up.home, free_port(), **second) as back, stored(back) as service:
            client = Client(Tenant(back), jobs={job}, files={file, later}, deleted={deleted, lost})
            check(service, [client])
            assert client.tenant.weights(job) == weights
            client.jobs.add(client.tenant.train(later))
            check(service, [client])
            run("backup", "--home", up.home, cwd=tmp_path, **second)

        moment = ["--at", before.isoformat()]
        old = run("restore", backups, "--home", folder / "earlier", *moment, cwd=tmp_path)
        assert old["at"] < told["at"]
        with running(folder / "earlier", free_port(), **third) as earlier:
            files = Tenant(earlier).openai.files
            assert files.content(deleted).read() == short_rows(13)
            with pytest.raises(NotFoundError):
                files.retrieve(later)
            run("backup", "--home", earlier.home, cwd=tmp_path, **third)

        again = run("restore", tmp_path / "second", "--home", folder / "again", cwd=tmp_path)
        assert again["gone"] == []
