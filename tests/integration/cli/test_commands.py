"""Commands as a user runs them, in processes of their own, against the real API: start, files, jobs."""

import json
import re
import socket
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from cli.client.output import printable
from core.jobs.events import record_event
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, dataset
from tests.fixtures.service.shell import Shell

# Starting


def test_help_documents_every_exit_code(shell: Shell) -> None:
    shown = shell.run("-h", COLUMNS="200")
    assert shown.returncode == 0
    assert re.findall(r"(?<!\w)(\d+) [a-z]", shown.stdout.partition("Exit codes:")[2]) == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "130",
    ]


def test_starting_imports_nothing_heavy(shell: Shell) -> None:
    """--help must be fast, so only the commands that need the heavy libraries import them."""
    heavy = "torch transformers fastapi sqlalchemy boto3 celery httpx pydantic"
    program = f"import sys, cli.main; sys.exit(' '.join(set('{heavy}'.split()) & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr.strip()) == (1, "")


# Exit codes 1, 2 and 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs", "get", "ftjob-1"],
        ["jobs", "wait", "ftjob-1"],
        ["jobs", "logs", "-f", "ftjob-1"],
        ["files", "list"],
        ["adapters", "list"],
        ["methods"],
    ],
)
def test_an_unreachable_server_is_exit_code_3(shell: Shell, closed_port: int, arguments: list[str]) -> None:
    url = f"http://127.0.0.1:{closed_port}"
    ended = shell.run(*arguments, "--json", "--base-url", url, "--api-key", "tnr_x")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert url in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_server_that_is_no_tunery_is_told_apart(shell: Shell) -> None:
    """A server that is not Tunery listens, and closes each connection at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
            connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended = shell.run("files", "list", "--base-url", url, "--api-key", "tnr_x")
    assert ended.returncode == 1
    assert "is not Tunery: its answer is not a JSON object" in ended.stderr


def test_a_wrong_key_is_exit_code_1_with_the_servers_words(tunery: Shell, api: Api) -> None:
    ended = tunery.run("files", "list", TUNERY_API_KEY="tnr_wrong")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Incorrect API key provided" in ended.stderr
    assert "invalid_api_key" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["files", "list"], "TUNERY_API_KEY"),
        (["files", "list", "--api-key", "tnr_x", "--base-url", "localhost:8000"], "base URL"),
        (["files", "upload", "missing.jsonl"], "missing.jsonl"),
        (["jobs", "create", "no-file", "--model", "m", "--api-key", "tnr_x"], "neither a local file"),
        (["keys", "list"], "TUNERY_DATABASE_URL"),
        (["migrate"], "TUNERY_DATABASE_URL"),
        (["nonsense"], "nonsense"),
    ],
)
def test_a_usage_error_is_exit_code_2_and_names_its_cause(
    shell: Shell, arguments: list[str], named: str
) -> None:
    ended = shell.run(*arguments, COLUMNS="200")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert named in ended.stderr


def test_a_setting_out_of_range_is_a_usage_error_that_names_the_variable(shell: Shell) -> None:
    ended = shell.run("migrate", TUNERY_LEASE_SECONDS="0")
    assert ended.returncode == 2
    assert "TUNERY_LEASE_SECONDS" in ended.stderr


def test_server_and_key_are_found_in_the_state_folder(api: Api, alice: Tenant, shell: Shell) -> None:
    home = shell.cwd / "state"
    home.mkdir()
    (home / "base-url").write_text(f"{api.url}/v1\n")
    (home / "api-key").write_text(f"{alice.key}\n")
    assert isinstance(shell.json("files", "list", "--home", home), list)


# Files and jobs


def test_uploads_and_lists_files(tunery: Shell) -> None:
    path = tunery.cwd / "rows.jsonl"
    path.write_bytes(dataset(12))
    file = tunery.json("files", "upload", path)
    assert (file["filename"], file["bytes"]) == ("rows.jsonl", path.stat().st_size)
    assert file in tunery.json("files", "list", "--limit", "1")
    table = tunery.run("files", "list")
    assert (table.returncode, table.stderr) == (0, "")
    assert re.search(rf"{file['id']} +rows.jsonl +fine-tune", table.stdout), "ids must not be cut"


def test_a_refused_file_shows_what_is_wrong_with_its_rows(tunery: Shell) -> None:
    path = tunery.cwd / "rows.jsonl"
    path.write_bytes(dataset(12) + b'{"messages": []}\nno JSON\n')
    ended = tunery.run("files", "upload", path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.search(r"^  line  field     what is wrong$", ended.stderr, re.MULTILINE)
    assert re.search(r"^    13  messages  \w", ended.stderr, re.MULTILINE)
    assert re.search(r"^    14  -         \w", ended.stderr, re.MULTILINE)


@pytest.mark.parametrize(("bad", "more"), [(10, ""), (17, "… and 7 more"), (150, "… and at least 90 more")])
def test_of_many_bad_rows_the_first_ten_are_shown_and_the_others_counted(
    tunery: Shell, bad: int, more: str
) -> None:
    path = tunery.cwd / "rows.jsonl"
    path.write_bytes(b"no JSON\n" * bad + dataset(12))
    said = tunery.run("files", "upload", path).stderr
    assert re.findall(r"^ +(\d+)  -", said, re.MULTILINE) == [str(line) for line in range(1, 11)]
    assert more in said
    assert ("… and" in said) == bool(more)


def test_a_file_that_is_there_is_not_sent_again(tunery: Shell, alice: Tenant) -> None:
    """Only its name and content together are the same file, and a check takes what may be trained on."""
    path = tunery.cwd / "again.jsonl"
    path.write_bytes(dataset(21))
    first = alice.upload(dataset(21), name="again.jsonl")
    alice.upload(dataset(22), name="again.jsonl")
    alice.upload(dataset(21), name="another.jsonl")
    created = tunery.json("jobs", "create", path, "--model", BASE_MODEL)
    assert created["training_file"] == first
    refused = tunery.run("jobs", "create", path, "--model", BASE_MODEL, "--rank", "999")
    assert refused.returncode == 1
    assert alice.http.get(f"/v1/files/{first}").status_code == 200, "it was not uploaded by this command"
    path.write_bytes(dataset(23))
    assert tunery.json("jobs", "create", path, "--model", BASE_MODEL)["training_file"] != first


def test_the_sample_is_written_and_never_over_another_file(shell: Shell) -> None:
    """`tunery up` names this command, and no service has to run for it."""
    for _ in range(2):
        assert shell.run("files", "sample").returncode == 0
    rows = (shell.cwd / "train.jsonl").read_bytes()
    assert (rows.count(b"\n"), (shell.cwd / "held-out.jsonl").read_bytes().count(b"\n")) == (300, 20)
    assert shell.json("files", "sample", "elsewhere") == {
        "files": ["elsewhere/train.jsonl", "elsewhere/held-out.jsonl"]
    }
    (shell.cwd / "train.jsonl").write_bytes(b"mine")
    ended = shell.run("files", "sample")
    assert (ended.returncode, "name another folder" in ended.stderr) == (2, True)
    assert (shell.cwd / "train.jsonl").read_bytes() == b"mine"


def test_a_preview_without_a_model_names_those_on_offer(tunery: Shell) -> None:
    (tunery.cwd / "rows.jsonl").write_bytes(dataset(12))
    ended = tunery.run("files", "preview", "rows.jsonl")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"On offer: {BASE_MODEL}, small-model" in ended.stderr


def test_a_single_fault_is_told_once(tunery: Shell) -> None:
    path = tunery.cwd / "rows.jsonl"
    path.write_bytes(dataset(12) + b"no JSON\n")
    ended = tunery.run("files", "upload", path)
    assert ended.stderr.lower().count("line 13") == 1


def test_with_json_an_error_is_an_object_with_what_the_server_said(tunery: Shell) -> None:
    path = tunery.cwd / "rows.jsonl"
    path.write_bytes(dataset(12) + b"no JSON\n")
    ended = tunery.run("files", "upload", path, "--json")
    error = json.loads(ended.stderr)["error"]
    assert (ended.returncode, ended.stdout) == (1, "")
    assert (error["status"], error["param"], error["code"]) == (400, "file", "invalid_file_format")
    assert (error["exit_code"], error["details"][0]["line"]) == (1, 13)
    missing = tunery.run("files", "upload", path, "--json", TUNERY_BASE_URL="http://127.0.0.1:1")
    assert json.loads(missing.stderr)["error"]["exit_code"] == 3


def test_shows_downloads_and_deletes_a_file(tunery: Shell, alice: Tenant) -> None:
    file_id = alice.upload(dataset(11), name="rows.jsonl")
    shown = tunery.json("files", "get", file_id)
    assert (shown["id"], shown["rows"]) == (file_id, 11)
    assert tunery.run("files", "get", file_id, "--to", "copy.jsonl").returncode == 0
    assert (tunery.cwd / "copy.jsonl").read_bytes() == dataset(11)
    again = tunery.run("files", "get", file_id, "--to", "copy.jsonl")
    assert (again.returncode, "cannot be written" in again.stderr) == (2, True)
    assert tunery.run("files", "delete", file_id).returncode == 0
    assert alice.http.get(f"/v1/files/{file_id}").status_code == 404


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "Choose a model with --model. On offer: "),
        (["--model", "gpt-9"], "There is no model gpt-9. On offer: "),
    ],
)
def test_a_job_without_a_model_that_exists_uploads_nothing_and_names_what_is_on_offer(
    tunery: Shell, alice: Tenant, given: list[str], says: str
) -> None:
    (tunery.cwd / "none.jsonl").write_bytes(dataset(12))
    ended = tunery.run("jobs", "create", "none.jsonl", *given)
    assert ended.returncode == (1 if given else 2)
    assert f"{says}{BASE_MODEL}, small-model" in ended.stderr
    assert not any(file["filename"] == "none.jsonl" for file in alice.http.get("/v1/files").json()["data"])


def test_a_refused_job_leaves_no_file(tunery: Shell, alice: Tenant) -> None:
    (tunery.cwd / "few.jsonl").write_bytes(dataset(3))
    ended = tunery.run("jobs", "create", "few.jsonl", "--model", BASE_MODEL)
    assert (ended.returncode, "needs at least 10" in ended.stderr) == (1, True)
    assert not any(file["filename"] == "few.jsonl" for file in alice.http.get("/v1/files").json()["data"])


def test_an_estimate_leaves_no_file(tunery: Shell, alice: Tenant) -> None:
    (tunery.cwd / "estimated.jsonl").write_bytes(dataset(12))
    ended = tunery.run("jobs", "estimate", "estimated.jsonl", "--model", BASE_MODEL, "--json")
    assert json.loads(ended.stdout)["tokens"]["count"] > 0
    assert not any(
        file["filename"] == "estimated.jsonl" for file in alice.http.get("/v1/files").json()["data"]
    )


def test_lists_more_than_a_page(tunery: Shell, api: Api) -> None:
    tenant = api.tenant()
    file_id = tenant.upload()
    jobs = [tenant.create_job(training_file=file_id)["id"] for _ in range(105)]
    tunery.variables["TUNERY_API_KEY"] = tenant.key
    listed = tunery.json("jobs", "list", "--limit", "102")
    assert [job["id"] for job in listed] == jobs[:-103:-1]


def test_creates_a_job_from_paths_with_every_option(tunery: Shell) -> None:
    for name in ("train.jsonl", "valid.jsonl"):
        (tunery.cwd / name).write_bytes(dataset(12))
    options = "--suffix mine --seed 7 --epochs 2 --batch-size 3 --learning-rate 1e-3 --rank 4 --alpha 8"
    evaluation = "--evaluate", "--set", "evaluate.rows=5"
    arguments = ["train.jsonl", "--model", BASE_MODEL, "--validation", "valid.jsonl", *options.split()]
    job = tunery.json("jobs", "create", *arguments, *evaluation)
    assert job["status"] == "queued"
    assert (job["evaluate"]["file"], job["evaluate"]["rows"]) == (job["validation_file"], 5)
    assert job["seed"] == 7
    assert job["training_file"] != job["validation_file"]
    assert (job["hyperparameters"]["n_epochs"], job["hyperparameters"]["batch_size"]) == (2, 3)
    assert job["training"]["learning_rate"] == 1e-3
    assert (job["adapter"]["r"], job["adapter"]["lora_alpha"]) == (4, 8)
    assert tunery.json("jobs", "get", job["id"])["id"] == job["id"]


def test_asks_for_a_job_with_a_teacher(tunery: Shell, alice: Tenant) -> None:
    row = json.dumps({"messages": [{"role": "user", "content": "hi"}]})
    prompts = alice.upload("\n".join([row] * 12).encode())
    chosen = ["--model", BASE_MODEL, "--validation", prompts, "--teacher", BASE_MODEL]
    refused = tunery.run("jobs", "create", prompts, *chosen, "--method", "distillation")
    assert "'method.distillation.teacher' is the model that the job begins with" in refused.stderr
    misplaced = tunery.run("jobs", "create", prompts, *chosen, "--method", "dpo")
    assert misplaced.returncode == 2
    assert "--teacher needs --method distillation" in misplaced.stderr


def test_creates_a_job_with_the_grader_in_a_file(tunery: Shell, alice: Tenant) -> None:
    grader = {"type": "string_check", "name": "a", "input": "a", "reference": "b", "operation": "eq"}
    (tunery.cwd / "grader.json").write_text(json.dumps(grader))
    row = json.dumps({"messages": [{"role": "user", "content": "hi"}]})
    prompts = alice.upload("\n".join([row] * 12).encode())
    chosen = ["--model", BASE_MODEL, "--validation", prompts, "--grader", "grader.json"]
    job = tunery.json("jobs", "create", prompts, *chosen, "--method", "reinforcement", "--epochs", "3")
    assert job["method"]["reinforcement"]["grader"] == grader
    assert job["hyperparameters"]["n_epochs"] == 3
    refused = tunery.run("jobs", "create", prompts, *chosen, "--method", "dpo")
    assert refused.returncode == 2
    assert "--grader needs --method reinforcement" in refused.stderr
    (tunery.cwd / "grader.json").write_text("{")
    broken = tunery.run("jobs", "create", prompts, *chosen, "--method", "reinforcement")
    assert broken.returncode == 2
    assert "holds no grader as JSON" in broken.stderr


def test_leaves_to_the_server_what_was_not_chosen(tunery: Shell, alice: Tenant) -> None:
    job = tunery.json("jobs", "create", alice.upload(), "--model", BASE_MODEL)
    assert job["evaluate"] is None
    assert job["adapter"]["r"] == 16
    assert job["training"]["learning_rate"] == 2e-4


def test_an_unknown_model_is_refused_with_the_servers_words(tunery: Shell, alice: Tenant) -> None:
    ended = tunery.run("jobs", "create", alice.upload(), "--model", "gpt-9")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "gpt-9" in ended.stderr


def test_cancels_a_job_once(tunery: Shell, alice: Tenant) -> None:
    job = alice.create_job()
    assert tunery.json("jobs", "cancel", job["id"])["status"] == "cancelled"
    again = tunery.run("jobs", "cancel", job["id"])
    assert again.returncode == 1
    assert "job_not_cancellable" in again.stderr


def test_rows_without_losses_are_told_how_to_get_some(tunery: Shell, alice: Tenant) -> None:
    job = alice.create_job()
    ended = tunery.run("jobs", "rows", job["id"])
    assert ended.returncode == 0
    assert "training.row_losses=1000" in ended.stderr
    assert tunery.json("jobs", "rows", job["id"]) == []


def test_lists_the_jobs_that_have_all_words(tunery: Shell, alice: Tenant) -> None:
    found = alice.create_job(suffix="needle")["id"]
    alice.create_job(suffix="hay")
    listed = tunery.json("jobs", "list", "--search", "NEEDLE tiny")
    assert [job["id"] for job in listed] == [found]


def test_lists_the_jobs_of_a_status(tunery: Shell) -> None:
    paused = tunery.json("jobs", "list", "--status", "paused")
    assert all(job["status"] == "paused" for job in paused)
    refused = tunery.run("jobs", "list", "--status", "gone")
    assert refused.returncode == 2
    assert "succeeded" in refused.stderr


def test_deletes_jobs_that_have_ended(tunery: Shell, alice: Tenant) -> None:
    jobs = [alice.create_job()["id"] for _ in range(3)]
    early = tunery.run("jobs", "delete", jobs[0])
    assert early.returncode == 1
    assert "Cancel it first" in early.stderr
    for job_id in jobs:
        tunery.run("jobs", "cancel", job_id)
    told = tunery.run("jobs", "delete", *jobs[:2])
    assert (told.returncode, told.stdout) == (0, "")
    assert all(job_id in told.stderr for job_id in jobs[:2])
    assert tunery.json("jobs", "delete", jobs[2])["deleted"] is True
    assert "fine_tune_not_found" in tunery.run("jobs", "get", jobs[0]).stderr


def test_pauses_and_resumes_a_job(tunery: Shell, alice: Tenant) -> None:
    job = alice.create_job()
    assert tunery.json("jobs", "pause", job["id"])["status"] == "paused"
    assert tunery.json("jobs", "resume", job["id"])["status"] == "queued"
    again = tunery.run("jobs", "resume", job["id"])
    assert again.returncode == 1
    assert "job_not_resumable" in again.stderr


def test_logs_are_all_there_and_in_order(tunery: Shell, api: Api, alice: Tenant) -> None:
    """There are more events than the API returns in one page."""
    job = alice.create_job()
    with api.sessions.begin() as session:
        for number in range(250):
            record_event(session, job["id"], f"event {number}")
    ended = tunery.run("jobs", "logs", job["id"], "--json")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [event["message"] for event in events[-250:]] == [f"event {number}" for number in range(250)]
    assert tunery.run("jobs", "logs", job["id"]).stdout.splitlines()[-1].endswith("event 249")


def test_wait_is_0_for_a_succeeded_job_whose_adapter_downloads(
    tunery: Shell, api: Api, alice: Tenant, adapter_folder: Path
) -> None:
    job = alice.create_job()
    adapter_id = api.finish(api.claim(job["id"]), adapter_folder)
    ended = tunery.run("jobs", "wait", job["id"], "--json")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["adapter_id"] == adapter_id
    assert f"tunery adapters download {adapter_id}" in ended.stderr
    assert "tunery chat ft:" in ended.stderr

    assert adapter_id in [adapter["id"] for adapter in tunery.json("adapters", "list")]
    target = tunery.cwd / "deep" / "folder"
    adapter = tunery.json("adapters", "download", adapter_id, target)
    assert {path.name for path in target.iterdir()} == {path.name for path in adapter_folder.iterdir()}
    for file in adapter["files"]:
        assert sha256((target / file["name"]).read_bytes()).hexdigest() == file["sha256"]


def test_methods_are_listed_with_their_options_in_json(tunery: Shell) -> None:
    assert "LoRA" in tunery.run("methods").stdout
    assert tunery.json("methods")[0]["schema"]["title"] == "LoraAdapter"


def test_a_download_that_was_altered_is_refused_and_leaves_nothing(
    tunery: Shell, api: Api, alice: Tenant, adapter_folder: Path
) -> None:
    job = alice.create_job()
    adapter_id = api.finish(api.claim(job["id"]), adapter_folder)
    (key,) = [key for key in api.store.list(f"adapters/{job['id']}/") if key.endswith("README.md")]
    api.store.put_bytes(key, b"# No adapter\n")
    ended = tunery.run("adapters", "download", adapter_id, "target")
    assert ended.returncode == 1
    assert "README.md" in ended.stderr
    assert not [path for path in (tunery.cwd / "target").iterdir() if path.name.startswith("README")]


def test_printed_text_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x07 é\n") == "a�[2Jb� é\n"
