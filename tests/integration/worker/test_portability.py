"""Portability through the API: a real process measures, on a tiny base model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from sqlalchemy import select
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.catalog import load_catalog
from core.tables import Task
from tests.fixtures.api import Api, Tenant, dataset, wait_for
from tests.fixtures.shell import Shell
from tests.fixtures.stack import job_api_on
from tests.fixtures.tiny import TINY, write_base
from tests.fixtures.trainer import running
from tests.fixtures.warm import nursery
from worker.engine.adapters.saving import save_adapter
from worker.tasks.service import Tasks

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
def tasks(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Tasks]:
    """Run tasks as a worker does, in processes that start with their imports done."""
    settings = api.settings
    names = ("database_url", "s3_endpoint_url", "s3_bucket", "catalog_file")
    for name, value in {**{name: getattr(settings, name) for name in names}, "home": tmp_path}.items():
        monkeypatch.setenv(f"TUNERY_{name.upper()}", str(value))
    monkeypatch.setattr("worker.process.held_processes.subprocess", nursery().subprocess)
    tasks = Tasks(api.sessions, 1, ["portability"])
    tasks.start()
    yield tasks
    tasks.stop()


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
    job = tenant.create_job(model=TINY, validation_file=tenant.upload(dataset(3)))
    return api.finish(api.claim(job["id"]), tmp_path / "adapter")


def test_the_command_line_has_an_adapter_measured_on_its_validation_file(
    api: Api, tenant: Tenant, tasks: Tasks, adapter: str, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, {"TUNERY_BASE_URL": api.url, "TUNERY_API_KEY": tenant.key})
    by_rule = shell.json("adapters", "portability", adapter)
    assert {each["measured"] for each in by_rule["runtimes"]} == {False}
    shown = shell.json("adapters", "portability", adapter, "--measure")
    assert shown["prompts"] == {"count": 3, "source": "validation_file", "new_tokens": 16}
    reports = {each["runtime"]: each for each in shown["runtimes"]}
    assert (reports["peft"]["status"], reports["peft"]["needs"]) == ("works", "as_it_is")
    assert reports["llama_cpp"]["status"] == "fails"  # this tokenizer of single bytes has no merges
    assert "cannot find tokenizer merges" in reports["llama_cpp"]["reason"]
    assert reports["vllm"]["status"] == "not_measured"
    assert shown == tenant.http.get(f"/v1/adapters/{adapter}/portability").json()

    table = shell.run("adapters", "portability", adapter)
    assert table.returncode == 0, table.stderr
    assert "3/3" in table.stdout
    assert "llama.cpp" in table.stdout


def test_a_report_outlives_the_days_of_exports_and_has_no_files(
    api: Api, tenant: Tenant, tasks: Tasks, adapter: str
) -> None:
    at = f"/v1/adapters/{adapter}/portability"
    task_id = tenant.http.post(at).json()["measurement"]["id"]
    wait_for(lambda: tenant.http.get(at).json()["measurement"]["finished_at"], SECONDS)
    with api.sessions() as session:
        task = session.get_one(Task, task_id)
    assert (task.status, task.files, task.bytes, task.expires_at) == ("succeeded", [], 0, None)


@pytest.mark.parametrize("wanted", [False, True])
def test_a_published_adapter_waits_to_be_measured_if_the_operator_wants_it(
    api: Api, tenant: Tenant, wanted: bool
) -> None:
    job = tenant.create_job(model=TINY, hyperparameters={"n_epochs": 1, "batch_size": 4})
    with running(api, portability_at_publication=wanted):
        wait_for(lambda: tenant.job(job["id"])["status"] == "succeeded", SECONDS)
    adapter = tenant.job(job["id"])["adapter_id"]
    measurement = tenant.http.get(f"/v1/adapters/{adapter}/portability").json()["measurement"]
    assert (measurement is not None) == wanted
    with api.sessions() as session:
        waiting = session.scalars(select(Task).where(Task.adapter_id == adapter)).all()
    assert [task.status for task in waiting] == ["queued"] * wanted
    if wanted:
        tenant.http.post(f"/v1/adapters/{adapter}/portability/cancel")
