"""`tunery from-openai`, between two projects: the official client asks the source, as it would ask OpenAI."""

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from faults.serving import serving
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, dataset
from tests.fixtures.service.shell import Shell


@pytest.fixture
def source(api: Api) -> Tenant:
    return api.tenant()


@pytest.fixture
def mover(api: Api, bob: Tenant, source: Tenant, tmp_path: Path) -> Shell:
    """Return the shell of somebody who moves from `source` to Bob's project."""
    variables = {"TUNERY_BASE_URL": api.url, "TUNERY_API_KEY": bob.key}
    account = {"OPENAI_API_KEY": source.key}
    return Shell(tmp_path, variables | account)


def finished_job(api: Api, source: Tenant, folder: Path, **body: Any) -> str:
    job_id = str(source.create_job(**body)["id"])
    api.finish(api.claim(job_id), folder)
    return job_id


def move(mover: Shell, api: Api, *arguments: str, **variables: str) -> CompletedProcess[str]:
    return mover.run("from-openai", "--source-url", f"{api.url}/v1", *arguments, **variables)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_files_and_settings_of_jobs_are_moved_once(
    api: Api, bob: Tenant, source: Tenant, mover: Shell, adapter_folder: Path
) -> None:
    rows, held_out = source.upload(dataset(20), name="rows.jsonl"), source.upload(dataset(11), name="v.jsonl")
    unused = source.upload(dataset(13), name="unused.jsonl")
    hyperparameters = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 7.0}
    moved = finished_job(
        api,
        source,
        adapter_folder,
        training_file=rows,
        validation_file=held_out,
        suffix="bot",
        seed=7,
        metadata={"team": "red"},
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
    )
    waiting = source.create_job(training_file=rows)["id"]

    printed = move(mover, api, "--model", BASE_MODEL)

    assert printed.returncode == 0, printed.stderr
    (request,) = lines(printed.stdout)
    files = {file["filename"]: file for file in bob.http.get("/v1/files").json()["data"]}
    assert {"rows.jsonl", "v.jsonl", "unused.jsonl"} <= files.keys()
    for name, original in (("rows.jsonl", rows), ("v.jsonl", held_out), ("unused.jsonl", unused)):
        assert files[name]["sha256"] == source.http.get(f"/v1/files/{original}").json()["sha256"]
    assert request == {
        "model": BASE_MODEL,
        "training_file": files["rows.jsonl"]["id"],
        "validation_file": files["v.jsonl"]["id"],
        "suffix": "bot",
        "seed": 7,
        "metadata": {"team": "red", "openai_job": moved},
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
    }
    assert f"{waiting} is not copied: it is queued" in printed.stderr

    created = move(mover, api, "--model", BASE_MODEL, "--create")

    (job,) = lines(created.stdout)
    assert bob.job(job["id"])["metadata"]["openai_job"] == moved
    assert "rows.jsonl" in created.stderr
    assert "is here already" in created.stderr
    again = move(mover, api, "--model", BASE_MODEL, "--create")
    assert (again.returncode, again.stdout) == (0, "")
    bob.openai.fine_tuning.jobs.cancel(job["id"])
    (anew,) = lines(move(mover, api, "--model", BASE_MODEL, "--create").stdout)
    assert anew["id"] != job["id"], "a job that came to nothing is made again"


def test_nothing_is_copied_for_a_model_that_does_not_exist(
    api: Api, bob: Tenant, source: Tenant, mover: Shell
) -> None:
    source.upload(dataset(14), name="stays.jsonl")
    refused = move(mover, api, "--model", "gpt-4o-mini")
    assert refused.returncode == 1
    assert "gpt-4o-mini" in refused.stderr
    assert not any(file["filename"] == "stays.jsonl" for file in bob.http.get("/v1/files").json()["data"])


def test_a_wrong_key_of_the_account_ends_the_command_with_its_error(api: Api, mover: Shell) -> None:
    refused = move(mover, api, "--model", BASE_MODEL, OPENAI_API_KEY="wrong")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "does not answer" in refused.stderr


class BreakingAccount(BaseHTTPRequestHandler):
    """An account that breaks off in the middle of its only file, and cannot list its jobs."""

    def do_GET(self) -> None:
        file = {
            "id": "file-1",
            "object": "file",
            "filename": "rows.jsonl",
            "bytes": 100,
            "purpose": "fine-tune",
        }
        answers: dict[str, Any] = {
            "/files": {"object": "list", "data": [file], "has_more": False},
            "/files/file-1": file,
        }
        path = self.path.partition("?")[0].removeprefix("/v1")
        body = b"the begin" if path.endswith("/content") else json.dumps(answers.get(path)).encode()
        self.send_response(500 if path.startswith("/fine_tuning") else 200)
        self.send_header("content-type", "application/json")
        self.send_header("x-should-retry", "false")
        self.send_header("content-length", str(100 if path.endswith("/content") else len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_an_account_that_breaks_off_ends_the_command_with_its_error(mover: Shell) -> None:
    with serving(BreakingAccount) as url:
        ended = mover.run("from-openai", "--model", BASE_MODEL, "--source-url", f"{url}/v1")
    assert "the file file-1 cannot be read" in ended.stderr
    assert f"The account at {url}/v1 does not answer" in " ".join(ended.stderr.split())
    assert (ended.returncode, "Traceback" in ended.stderr) == (1, False)


def test_the_key_of_the_account_is_not_sent_to_the_server_that_the_variable_of_openais_client_names(
    mover: Shell, closed_port: int
) -> None:
    closed = f"http://127.0.0.1:{closed_port}"
    asked = mover.run(
        *("from-openai", "--model", BASE_MODEL),
        OPENAI_BASE_URL=mover.environment["TUNERY_BASE_URL"] + "/v1",
        HTTPS_PROXY=closed,  # nothing leaves this machine
    )
    assert asked.returncode == 1
    assert "The account at https://api.openai.com" in asked.stderr
