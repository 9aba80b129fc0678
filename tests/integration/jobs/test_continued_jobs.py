"""Jobs that continue from an adapter, from the request to the adapter that plain PEFT loads."""

import io
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from peft import PeftModel
from safetensors.torch import load, save
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from cli.demo.compare import mean_loss
from cli.embedded import EmbeddedServers
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.service.api import Api, Tenant, dataset, row, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.service.trainer import job_of, running
from tests.fixtures.work.imports import WEIGHTS, imported_at_once, packed, peft_files

JOBS = "/v1/fine_tuning/jobs"
ROWS = dataset(12)
SCHEDULE = {"n_epochs": 2, "batch_size": 12}  # each step sees all rows, so that its loss can be compared
STANDING = {"learning_rate": 1e-300}  # too small to change a number
PARENTS = {
    "lora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]},
    "dora": {"r": 4, "use_dora": True},
    "patterns": {"r": 4, "use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 16}},
    "pissa": {"r": 2, "lora_alpha": 4, "init_lora_weights": "pissa"},
    "dynamic": {"r": 4, "dynamic_rank": True},
    "eva": {"r": 4, "init_lora_weights": "eva"},
    "ia3": {"type": "ia3"},
    "full": {"type": "full"},
}


class Service(NamedTuple):
    api: Api
    tenant: Tenant
    base: Path
    parents: dict[str, str]
    """The ids of the jobs that trained those that a test has asked for"""


def create(tenant: Tenant, model: str, **body: Any) -> str:
    files = {"training_file": tenant.upload(ROWS), "seed": 1, "hyperparameters": SCHEDULE}
    return str(tenant.create_job(model=model, **{**files, **body})["id"])


@pytest.fixture(scope="module")
def service(
    servers: EmbeddedServers, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("base")
    catalog = write_base(folder, dtype="fp32")
    with job_api_on(servers, database_url, catalog_file=catalog) as api, running(api):
        yield Service(api, api.tenant("continues"), folder / "model", {})


def parent_of(service: Service, name: str = "lora") -> dict[str, Any]:
    if name not in service.parents:
        training = {"learning_rate": 1e-2, "warmup_ratio": 0.0}
        service.parents[name] = create(service.tenant, TINY, adapter=PARENTS[name], training=training)
    return finished(service, service.parents[name])


def finished(service: Service, job_id: str) -> dict[str, Any]:
    wait_for(lambda: job_of(service.api, job_id).status not in ("queued", "running"), 240)
    job = service.tenant.job(job_id)
    assert job["status"] == "succeeded", job["error"]
    return job


def members(service: Service, job: dict[str, Any]) -> dict[str, bytes]:
    archive = service.tenant.http.get(f"/v1/adapters/{job['adapter_id']}/content").content
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        return {name: found.read(name) for name in found.namelist()}


def tensors(service: Service, job: dict[str, Any]) -> dict[str, Tensor]:
    (weights,) = (content for name, content in members(service, job).items() if name.endswith(".safetensors"))
    return load(weights)


def plain_loss(service: Service, job: dict[str, Any], folder: Path) -> float:
    """Return the loss on all rows of the job's adapter in plain PEFT, or of its model in transformers."""
    for name, content in members(service, job).items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    if (folder / "adapter_config.json").exists():
        model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(service.base), folder)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder)
    rows = [json.loads(line)["messages"] for line in ROWS.splitlines()]
    return mean_loss(model.eval(), AutoTokenizer.from_pretrained(folder), rows)


def losses(service: Service, job_id: str) -> list[float]:
    series = service.tenant.http.get(f"{JOBS}/{job_id}/metrics").json()["data"]
    return [point["train_loss"] for point in series]


@pytest.mark.family(2)
@pytest.mark.parametrize("name", PARENTS)
def test_a_job_begins_with_its_parent_s_weights_and_without_a_rate_ends_with_them(
    service: Service, name: str, tmp_path: Path
) -> None:
    parent = parent_of(service, name)
    body: dict[str, Any] = {"training": STANDING}
    job = finished(service, create(service.tenant, parent["fine_tuned_model"], **body))
    before, after = tensors(service, parent), tensors(service, job)
    assert before.keys() == after.keys()
    assert all(before[each].equal(after[each]) for each in before), "the same to the bit"
    if name != "dynamic":  # its steps compute with fewer ranks
        assert losses(service, job["id"])[0] == pytest.approx(plain_loss(service, parent, tmp_path), abs=1e-4)


def test_a_continued_job_learns_on_and_its_adapter_names_the_whole_chain(service: Service) -> None:
    first = parent_of(service)
    second = finished(service, create(service.tenant, first["fine_tuned_model"], suffix="second"))
    third = finished(service, create(service.tenant, second["adapter_id"]))
    assert (second["model"], third["model"]) == (first["fine_tuned_model"], second["fine_tuned_model"])
    assert third["base_model"] == TINY
    assert second["fine_tuned_model"].startswith(f"ft:{TINY}:continues:second:")
    assert {name: second["adapter"][name] for name in ("r", "lora_alpha")} == {"r": 4, "lora_alpha": 8}
    assert min(losses(service, third["id"])) < losses(service, second["id"])[0]

    adapter = service.tenant.http.get(f"/v1/adapters/{third['adapter_id']}").json()
    chain = [(each["model"], each["adapter_id"], each["job_id"]) for each in adapter["lineage"]]
    assert chain == [(job["fine_tuned_model"], job["adapter_id"], job["id"]) for job in (second, first)]
    manifest = json.loads(members(service, third)["manifest.json"])
    assert manifest["specification"]["lineage"] == adapter["lineage"] == third["lineage"]
    assert first["fine_tuned_model"] in members(service, second)["README.md"].decode()
    assert second["fine_tuned_model"] in members(service, third)["README.md"].decode()
    events = service.tenant.openai.fine_tuning.jobs.list_events(third["id"], limit=100)
    assert f"The job begins with the weights of {second['fine_tuned_model']}" in [e.message for e in events]


def test_a_job_continues_from_a_checkpoint_and_through_an_alias(service: Service) -> None:
    parent = parent_of(service)
    alias = {"name": "best", "model": parent["fine_tuned_model"]}
    assert service.tenant.http.post("/v1/aliases", json=alias).status_code == 200
    checkpoint = f"{parent['fine_tuned_model']}:ckpt-step-1"
    through_alias = create(service.tenant, "best", training=STANDING)
    from_checkpoint = create(service.tenant, checkpoint, training=STANDING)
    told = [finished(service, job_id) for job_id in (through_alias, from_checkpoint)]
    assert [job["model"] for job in told] == [parent["fine_tuned_model"], checkpoint]
    assert told[1]["lineage"][0]["step"] == 1
    of_alias, of_checkpoint = (tensors(service, job) for job in told)
    published = tensors(service, parent)
    assert all(published[name].equal(of_alias[name]) for name in published)
    assert not all(published[name].equal(of_checkpoint[name]) for name in published)
    assert losses(service, from_checkpoint)[0] == pytest.approx(losses(service, parent["id"])[1], abs=1e-4)


def test_the_reference_of_a_preference_is_the_model_that_the_job_continues_from(service: Service) -> None:
    """At the first step model and reference are the same, so DPO's loss is ln 2."""
    pairs = [
        {
            "input": {"messages": row()["messages"][:1]},
            "preferred_output": [{"role": "assistant", "content": f"answer {number}"}],
            "non_preferred_output": [{"role": "assistant", "content": f"{number} no"}],
        }
        for number in range(12)
    ]
    content = "".join(json.dumps(pair) + "\n" for pair in pairs).encode()
    method = {"type": "dpo", "dpo": {"hyperparameters": {**SCHEDULE, "beta": 1.0}}}
    parent = parent_of(service)
    body: dict[str, Any] = {"training_file": service.tenant.upload(content), "method": method}
    body |= {"hyperparameters": None, "training": {"learning_rate": 1e-2, "warmup_ratio": 0.0}}
    first, second = losses(
        service, finished(service, create(service.tenant, parent["fine_tuned_model"], **body))["id"]
    )
    assert first == pytest.approx(math.log(2), abs=1e-5)
    assert second < first


def test_a_job_continues_from_an_imported_adapter(service: Service, tmp_path: Path) -> None:
    """It was trained by PEFT, in bf16, with another rank in one layer."""
    api, tenant = service.api, service.tenant
    options = {"r": 4, "rank_pattern": {"layers.1.self_attn.q_proj": 2}, "use_rslora": True}
    files = peft_files(service.base, tmp_path / "peft", **options)
    halved = {name: each.bfloat16() for name, each in load(files[WEIGHTS]).items()}
    content = packed({**files, WEIGHTS: save(halved)})
    adapter_id, model = imported_at_once(api, tenant, tmp_path, content)
    parent = {"adapter_id": adapter_id, "fine_tuned_model": model}

    job = finished(service, create(tenant, parent["fine_tuned_model"], training=STANDING))
    before, after = tensors(service, parent), tensors(service, job)
    assert before.keys() == after.keys()
    assert all(before[name].float().equal(after[name]) for name in before)
    assert losses(service, job["id"])[0] == pytest.approx(
        plain_loss(service, parent, tmp_path / "plain"), abs=1e-4
    )
    assert tenant.http.get(f"/v1/adapters/{job['adapter_id']}").json()["lineage"][0]["job_id"] is None
