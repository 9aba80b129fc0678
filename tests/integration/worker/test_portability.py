"""Portability through the API: a real process measures, on a tiny base model."""

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from peft import LoraConfig, get_peft_model
from sqlalchemy import select
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.catalog import load_catalog
from core.jobs import lifecycle
from core.portability.report import Measurement
from core.portability.rules import reports_by_rule
from core.roles import Role
from core.tables import Adapter, Task
from core.work import client as tasks_of_clients
from core.work.kinds import PORTABILITY
from faults.stored import not_as_in_the_ledger
from tests.fixtures.faults import crashes
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.processes.tasks import WarmTasks, variables_of
from tests.fixtures.service.api import Api, Tenant, dataset, wait_for
from tests.fixtures.service.janitor import GRACE_OVER, clean
from tests.fixtures.service.shell import Shell
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.service.trainer import running
from tests.fixtures.work import exporting
from tests.fixtures.work.exporting import weights_of
from tests.fixtures.work.imports import imported_at_once
from tests.fixtures.work.portability import measurement
from tests.fixtures.work.taking import take
from worker.adapter_files.folder import write_manifest
from worker.adapter_files.portability_section import section_by_rule
from worker.engine.adapters.saving import save_adapter
from worker.tasks.frame.process import do_and_write
from worker.tasks.frame.service import Tasks
from worker.tasks.frame.work import Work
from worker.tasks.portability.model_card import put_card_in_place

SECONDS = 240


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def api(servers: Any, database_url: str, catalog: Path) -> Iterator[Api]:
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        yield api


@pytest.fixture
def tenant(api: Api) -> Tenant:
    return api.tenant()


@pytest.fixture
def tasks(api: Api, tmp_path: Path) -> Iterator[WarmTasks]:
    with WarmTasks(api.sessions, ["portability"], variables_of(api.settings, home=tmp_path)) as tasks:
        yield tasks


@pytest.fixture
def adapter(api: Api, tenant: Tenant, catalog: Path, tmp_path: Path) -> str:
    """Publish a LoRA with random weights as the result of a job with a validation file."""
    entry = load_catalog(catalog).get(TINY)
    assert entry is not None
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(entry.path, dtype=torch.float32), lora)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, 0, 0.1)
    save_adapter(model, entry, tmp_path / "adapter")
    AutoTokenizer.from_pretrained(entry.path).save_pretrained(tmp_path / "adapter")
    by_rule = reports_by_rule({"type": "lora", "r": 4}, entry.repository, entry.revision)
    (tmp_path / "adapter" / "README.md").write_text("# mine\n" + section_by_rule(by_rule))
    facts = {"made_for": "a test", "base_sha256": weights_of(entry)}
    write_manifest(tmp_path / "adapter", facts, quantised=False)
    job = tenant.create_job(model=TINY, validation_file=tenant.upload(dataset(3)))
    return api.finish(api.claim(job["id"]), tmp_path / "adapter")


@pytest.mark.exhaustive
def test_the_command_line_has_an_adapter_measured_on_its_validation_file(
    api: Api, tenant: Tenant, tasks: WarmTasks, adapter: str, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, {"TUNERY_BASE_URL": api.url, "TUNERY_API_KEY": tenant.key})
    by_rule = shell.json("adapters", "portability", adapter)
    assert {each["measured"] for each in by_rule["runtimes"]} == {False}
    shown = shell.json("adapters", "portability", adapter, "--measure")
    assert shown["prompts"] == {
        "count": 20,
        "from_validation_file": 3,
        "from_general_list": 17,
        "new_tokens": 16,
    }
    reports = {each["runtime"]: each for each in shown["runtimes"]}
    assert (reports["peft"]["status"], reports["peft"]["needs"]) == ("works", "as_it_is")
    assert reports["llama_cpp"]["status"] == "fails"  # this tokenizer of single bytes has no merges
    assert "cannot find tokenizer merges" in reports["llama_cpp"]["reason"]
    assert reports["vllm"]["status"] == "not_measured"
    assert shown == tenant.http.get(f"/v1/adapters/{adapter}/portability").json()

    table = shell.run("adapters", "portability", adapter)
    assert table.returncode == 0, table.stderr
    assert "20/20" in table.stdout
    assert "llama.cpp" in table.stdout


@pytest.mark.exhaustive
def test_the_model_card_has_what_was_measured_last_and_no_other_file_changes(
    api: Api, tenant: Tenant, tasks: WarmTasks, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(tenant, adapter)
    assert before["README.md"].count(b"not measured here") == 3
    first = measured(tenant, adapter)
    after = files_of(tenant, adapter)
    card = after["README.md"].decode()
    assert card.startswith("# mine\n")
    assert "| as it is | measured: works |" in card
    assert "| 20 of 20 |" in card
    assert "no answers: " in card  # of llama.cpp: this tokenizer of single bytes has no merges
    assert card.count("not measured here") == 1  # of vLLM
    assert changed(before, after) == {"README.md", "manifest.json"}
    assert json.loads(after["manifest.json"])["made_for"] == "a test"
    with api.sessions() as session:
        row, task = session.get_one(Adapter, adapter), session.get_one(Task, first)
    assert [file["name"] for file in row.files[:2]] == ["README.md", "manifest.json"]
    assert (task.status, task.expires_at) == ("succeeded", None)

    second = measured(tenant, adapter)
    again = files_of(tenant, adapter)
    assert changed(after, again) <= {"README.md", "manifest.json"}
    assert again["README.md"].count(b"## Where it loads") == 1

    assert len(objects(api, first)) == 2  # for those who read it
    third = measured(tenant, adapter)
    clean(api, GRACE_OVER)
    assert (objects(api, first), objects(api, second)) == ([], [])
    assert len(objects(api, third)) == 2
    files_of(tenant, adapter)
    with api.sessions() as session:
        assert list(not_as_in_the_ledger(session, api.store)) == []

    assert tenant.http.delete(f"/v1/adapters/{adapter}").status_code == 200
    clean(api, GRACE_OVER)
    assert objects(api, third) == []


@pytest.mark.exhaustive
def test_an_export_is_made_of_an_adapter_whose_card_was_replaced(
    api: Api, tenant: Tenant, tasks: WarmTasks, adapter: str
) -> None:
    measured(tenant, adapter)
    with WarmTasks(api.sessions, ["export"], variables_of(api.settings)):
        made = exporting.ended(tenant, adapter, exporting.started(tenant, adapter))
    assert (made["status"], made["error"]) == ("succeeded", None)
    at = f"/v1/adapters/{adapter}/exports/{made['id']}/files/"
    for file in made["files"]:
        assert hashlib.sha256(tenant.http.get(at + file["name"]).content).hexdigest() == file["sha256"]


@pytest.mark.exhaustive
def test_the_card_of_a_measurement_whose_processes_are_killed_is_put_in_place_once(
    api: Api, tenant: Tenant, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The first process dies when it has kept the card, the second before it puts the card in place."""
    adapter, _ = imported_at_once(api, tenant, tmp_path)
    before = files_of(tenant, adapter)
    crashes_left = tmp_path / "crashes"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in crashes.plan(crashes_left, "place task.kept 1", "place task.delivered 1").items():
            patch.setenv(name, value)
        request.getfixturevalue("tasks")
        task_id = measured(tenant, adapter)
    assert crashes.left(crashes_left) == []
    with api.sessions() as session:
        task, row = session.get_one(Task, task_id), session.get_one(Adapter, adapter)
    assert (task.status, task.fence, task.losses, task.error) == ("succeeded", 3, 2, None)
    first = f"portabilitys/{task_id}/1-"  # made by the first process, and not again
    assert [file.get("key", "").startswith(first) for file in row.files[:3]] == [True, True, False]
    assert len(objects(api, task_id)) == 2
    after = files_of(tenant, adapter)
    assert changed(before, after) == {"README.md", "manifest.json"}
    assert b"imported into Tunery" in after["README.md"]
    assert b"measured: works" in after["README.md"]


@pytest.mark.parametrize("end", ["cancelled", "deleted", "taken"])
def test_a_process_that_has_lost_its_measurement_puts_no_card_in_place(
    api: Api, tenant: Tenant, adapter: str, end: str
) -> None:
    at = f"/v1/adapters/{adapter}"
    task_id = tenant.http.post(f"{at}/portability").json()["measurement"]["id"]
    lease = take(api, task_id)
    with api.sessions() as session:
        task, files = session.get_one(Task, task_id), session.get_one(Adapter, adapter).files

    def lose(_: Work, folder: Path) -> Measurement:
        (folder / "README.md").write_text("# another card\n")
        return measurement()

    def lose_it_at_last(work: Work, _: Path) -> dict[str, Any]:
        if end == "cancelled":
            assert tenant.http.post(f"{at}/portability/cancel").status_code == 200
        elif end == "deleted":
            assert tenant.http.delete(at).status_code == 200
        else:
            with work.sessions.begin() as session:
                session.get_one(Task, task_id).fence += 1
        return {}

    work = Work(api.settings, api.sessions, api.store, task, lease)
    do_and_write(lose, work, lose_it_at_last, put_card_in_place)
    with api.sessions() as session:
        assert session.get_one(Adapter, adapter).files == files
        assert session.get_one(Task, task_id).status == ("running" if end == "taken" else "cancelled")


@pytest.mark.parametrize("is_imported", [False, True], ids=["of a job", "imported"])
def test_a_card_that_an_adapter_names_outlives_its_measurement_and_so_do_the_other_files(
    api: Api, tenant: Tenant, adapter: str, tmp_path: Path, is_imported: bool
) -> None:
    """A measurement that is hidden may have the newest card."""
    if is_imported:
        (tmp_path / "import").mkdir()
        adapter, _ = imported_at_once(api, tenant, tmp_path / "import")
    task_id = tenant.http.post(f"/v1/adapters/{adapter}/portability").json()["measurement"]["id"]
    lease = take(api, task_id)
    with api.sessions() as session:
        task = session.get_one(Task, task_id)

    def write(_: Work, folder: Path) -> dict[str, Any]:
        (folder / "README.md").write_text("# another card\n")
        return {}

    work = Work(api.settings, api.sessions, api.store, task, lease)
    do_and_write(write, work, None, put_card_in_place)
    with api.sessions.begin() as session:
        tasks_of_clients.delete_all(session, Task.id == task_id)
    clean(api, GRACE_OVER)
    card = tenant.http.get(f"/v1/adapters/{adapter}/files/README.md")
    assert card.content == b"# another card\n"
    assert tenant.http.get(f"/v1/adapters/{adapter}/content").status_code == 200
    assert tenant.http.delete(f"/v1/adapters/{adapter}").status_code == 200
    clean(api, GRACE_OVER)
    assert objects(api, task_id) == []


@pytest.mark.exhaustive
def test_a_project_with_which_the_model_is_shared_measures_it_and_changes_no_card_but_reads_the_owner_s(
    api: Api, tenant: Tenant, tasks: WarmTasks, adapter: str
) -> None:
    friend = api.tenant()
    model = tenant.http.get(f"/v1/adapters/{adapter}").json()["model"]
    admin = api.tenant(tenant.project, Role.ADMIN)
    admin.openai.fine_tuning.checkpoints.permissions.create(model, project_ids=[friend.project_id])
    before = files_of(tenant, adapter)
    task_id = measured(friend, adapter)
    report = friend.http.get(f"/v1/adapters/{adapter}/portability").json()
    assert (report["runtimes"][0]["runtime"], report["runtimes"][0]["measured"]) == ("peft", True)
    assert files_of(tenant, adapter) == before
    assert objects(api, task_id) == []
    measured(tenant, adapter)
    assert changed(before, files_of(friend, adapter)) == {"README.md", "manifest.json"}


@pytest.mark.parametrize("measured", [True, False])
def test_a_published_adapter_waits_to_be_measured_where_its_worker_measures(
    api: Api, tenant: Tenant, measured: bool
) -> None:
    job = tenant.create_job(model=TINY, hyperparameters={"n_epochs": 1, "batch_size": 4})
    with running(api, portability_at_publication=measured):
        wait_for(lambda: tenant.job(job["id"])["status"] == "succeeded", SECONDS)
    adapter = tenant.job(job["id"])["adapter_id"]
    measurement = tenant.http.get(f"/v1/adapters/{adapter}/portability").json()["measurement"]
    assert (measurement is not None) == measured
    with api.sessions() as session:
        waiting = session.scalars(select(Task).where(Task.adapter_id == adapter)).all()
    assert [(task.status, task.started_by_job) for task in waiting] == [("queued", True)] * measured
    if measured:
        tenant.http.post(f"/v1/adapters/{adapter}/portability/cancel")


def test_no_export_waits_for_a_measurement_that_hangs_and_no_check_for_an_export(
    api: Api, tenant: Tenant, adapter: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec cat\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    measuring = tenant.http.post(f"/v1/adapters/{adapter}/portability").json()["measurement"]["id"]
    threads = Tasks.of(api.settings.model_copy(update={"task_processes": 1}), api.sessions)
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: status_of(api, measuring) == "running", SECONDS)
        exporting = tenant.http.post(f"/v1/adapters/{adapter}/exports", json={"format": "lora"}).json()["id"]
        wait_for(lambda: status_of(api, exporting) == "running", SECONDS)
        checking = tenant.http.post(f"/v1/files/{tenant.upload(dataset(3))}/check", json={}).json()["id"]
        wait_for(lambda: status_of(api, checking) == "running", SECONDS)
        assert [status_of(api, each) for each in (measuring, exporting)] == ["running"] * 2
    finally:
        for thread in threads:
            thread.stop()
    for left in ("portability", f"exports/{exporting}"):
        assert tenant.http.post(f"/v1/adapters/{adapter}/{left}/cancel").is_success


@pytest.mark.exhaustive
def test_a_measurement_that_nobody_asked_for_waits_while_a_job_trains_here_and_gives_way_to_one(
    api: Api, tenant: Tenant, adapter: str, tmp_path: Path
) -> None:
    beside, alone = (crashes.waits_at("task.uploaded", tmp_path / name) for name in ("beside", "alone"))
    with api.sessions.begin() as session:
        mine = {"adapter_id": adapter}
        unasked = tasks_of_clients.create(session, tenant.project_id, PORTABILITY, {}, None, **mine).id
    first = claimed_here(api, tenant)
    exporting = tenant.http.post(f"/v1/adapters/{adapter}/exports", json={"format": "lora"}).json()["id"]
    variables = variables_of(api.settings, home=tmp_path)
    with WarmTasks(api.sessions, ["portability", "export"], variables | beside, 2) as tasks:
        (process,) = wait_for(lambda: crashes.waiting(tmp_path / "beside"), SECONDS)
        assert psutil.Process(process).environ()["RAYON_NUM_THREADS"] == "1"
        tasks.variables = variables
        psutil.Process(process).kill()
        wait_for(lambda: status_of(api, exporting) == "succeeded", SECONDS)
        assert status_of(api, unasked) == "queued"
        tasks.variables = variables | alone
        tenant.openai.fine_tuning.jobs.cancel(first)
        (measuring,) = wait_for(lambda: crashes.waiting(tmp_path / "alone"), SECONDS)
        assert "RAYON_NUM_THREADS" not in psutil.Process(measuring).environ()
        tasks.variables = variables
        second = claimed_here(api, tenant)
        wait_for(lambda: not psutil.pid_exists(measuring), SECONDS)
        assert status_of(api, unasked) == "queued"
        tenant.openai.fine_tuning.jobs.cancel(second)
        wait_for(lambda: status_of(api, unasked) == "succeeded", SECONDS)
    with api.sessions() as session:
        task = session.get_one(Task, unasked)
    assert (task.fence, task.losses) == (2, 0)


def claimed_here(api: Api, tenant: Tenant) -> str:
    """Return the id of a job that a trainer on this machine holds."""
    job_id = str(tenant.create_job(model=TINY)["id"])
    api.claim(job_id, owner=lifecycle.new_owner())
    return job_id


def measured(tenant: Tenant, adapter: str) -> str:
    """Have the adapter measured, and return the id of the task."""
    at = f"/v1/adapters/{adapter}/portability"
    task_id = tenant.http.post(at).json()["measurement"]["id"]
    wait_for(lambda: tenant.http.get(at).json()["measurement"]["finished_at"], SECONDS)
    ended = tenant.http.get(at).json()["measurement"]
    assert (ended["id"], ended["status"], ended["error"]) == (task_id, "succeeded", None)
    return str(task_id)


def files_of(tenant: Tenant, adapter: str) -> Mapping[str, bytes]:
    """Download the files, alone and in a zip. Their bytes are those that the API and the manifest name."""
    at = f"/v1/adapters/{adapter}"
    shown = tenant.http.get(at).json()["files"]
    assert all(set(file) == {"name", "bytes", "sha256"} for file in shown)
    archive = zipfile.ZipFile(io.BytesIO(tenant.http.get(f"{at}/content").content))
    assert archive.namelist() == [file["name"] for file in shown]
    found = {file["name"]: archive.read(file["name"]) for file in shown}
    for file in shown:
        assert tenant.http.get(f"{at}/files/{file['name']}").content == found[file["name"]]
        assert len(found[file["name"]]) == file["bytes"]
        assert hashlib.sha256(found[file["name"]]).hexdigest() == file["sha256"]
    listed = json.loads(found["manifest.json"])["files"]
    assert {file["name"]: file["sha256"] for file in listed} == {
        file["name"]: file["sha256"] for file in shown if file["name"] != "manifest.json"
    }
    return found


def changed(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def objects(api: Api, task_id: str) -> list[str]:
    return list(api.store.list(f"portabilitys/{task_id}/"))


def status_of(api: Api, task_id: str) -> str:
    with api.sessions() as session:
        return session.get_one(Task, task_id).status
