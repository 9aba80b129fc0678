"""Jobs of AdaLoRA, and on a base model in 4 bits, from the request to the adapter that plain PEFT loads."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from cli.demo.compare import mean_loss
from cli.embedded import EmbeddedServers
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.service.api import dataset, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.service.trainer import job_of, running
from worker.engine.base.quantisation import quantization_config

ROWS = dataset(12)
STEPS = 24
MODULES = 21
ADALORA = {"type": "adalora", "init_r": 6, "target_r": 2, "tinit": 4, "tfinal": 6}


@pytest.fixture
def trained(servers: EmbeddedServers, database_url: str, tmp_path: Path) -> Any:
    """Trains a job on the base model of a catalog: its metrics by steps, and its adapter's folder."""

    def train(catalog: Path, adapter: dict[str, Any], **training: Any) -> tuple[list[dict[str, Any]], Path]:
        with job_api_on(servers, database_url, catalog_file=catalog) as api:
            tenant = api.tenant()
            files = {"training_file": tenant.upload(ROWS), "validation_file": tenant.upload(ROWS)}
            body = {
                "seed": 5,
                "adapter": adapter,
                "hyperparameters": {"n_epochs": 8, "batch_size": 4},
                "training": {"learning_rate": 1e-2, **training},
            }
            job_id = tenant.create_job(model=TINY, **files, **body)["id"]
            with running(api):
                wait_for(lambda: job_of(api, job_id).status not in ("queued", "running"), 240)
            job = tenant.job(job_id)
            assert job["status"] == "succeeded", job["error"]
            series = tenant.http.get(f"/v1/fine_tuning/jobs/{job_id}/metrics").json()["data"]
            events = tenant.openai.fine_tuning.jobs.list_events(job_id, limit=100)
            told = {event.data["step"]: event.data for event in events if event.type == "metrics"}
            archive = tenant.http.get(f"/v1/adapters/{job['adapter_id']}/content").content
        assert list(told.values())[::-1] == series, "the events tell what the series has"
        zipfile.ZipFile(io.BytesIO(archive)).extractall(tmp_path / "adapter")
        return series, tmp_path / "adapter"

    return train


def loss_of(model: Any, folder: Path) -> float:
    rows = [json.loads(line)["messages"] for line in ROWS.splitlines()]
    with torch.no_grad():
        return mean_loss(model, AutoTokenizer.from_pretrained(folder), rows)


def budget(step: int) -> int:
    """By the paper: all ranks, then fewer by the cube of the steps that are left, then the target."""
    left = 1 - min(1.0, max(0.0, (step - 4) / (STEPS - 6 - 4)))
    return int((6 - 2) * MODULES * left**3 + 2 * MODULES)


@pytest.mark.exhaustive
def test_adalora_s_budget_falls_by_the_paper_to_the_ranks_that_are_published(
    trained: Any, tmp_path: Path
) -> None:
    series, folder = trained(write_base(tmp_path, dtype="fp32"), ADALORA)
    budgets = {point["step"]: point["adapter_rank_budget"] for point in series}
    assert budgets == {step: budget(step) for step in range(1, STEPS + 1)}
    assert (budgets[4], budgets[STEPS - 6], budgets[STEPS]) == (6 * MODULES, 2 * MODULES, 2 * MODULES)

    pattern = json.loads((folder / "adapter_config.json").read_text())["rank_pattern"]
    assert len(pattern) == MODULES
    assert sum(map(sum, pattern.values())) == budgets[STEPS]
    weights = load_file(folder / "adapter_model.safetensors")
    ranks = [len(each) for name, each in weights.items() if "lora_E" in name]
    assert sum(ranks) == budgets[STEPS]
    assert len(set(ranks)) > 1, "some modules keep more than others"
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "model"), folder)
    assert loss_of(plain, folder) == pytest.approx(series[-1]["full_valid_loss"], rel=1e-4)


@pytest.mark.family(1)
@pytest.mark.parametrize("by_request", [False, True], ids=["of the catalog", "by request"])
def test_an_adapter_trained_over_4_bits_has_the_job_s_loss_in_plain_peft_over_4_bits(
    trained: Any, by_request: bool, tmp_path: Path
) -> None:
    """But for the embedding and the head, which the job holds in 8 bits and plain PEFT does not."""
    catalog = write_base(tmp_path, dtype="fp32", quantization=None if by_request else "nf4")
    asked = {"quantization": "nf4", "optimizer": "adamw_8bit"} if by_request else {}
    series, folder = trained(catalog, {"type": "lora", "r": 8}, learning_rate=5e-3, **asked)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["training"]["quantization"] == "nf4"
    base = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model",
        dtype=torch.float32,
        quantization_config=quantization_config("nf4", torch.float32, TINY),
        device_map={"": torch.device("cpu")},
    )
    # Not `eval`: for that bitsandbytes packs weights anew where a CPU has bf16, and none as narrow as these
    untrained = loss_of(base.train(), folder)
    found = series[-1]["full_valid_loss"]
    assert loss_of(PeftModel.from_pretrained(base, folder).train(), folder) == pytest.approx(found, rel=0.02)
    assert found < 0.85 * untrained, untrained
