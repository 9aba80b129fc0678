"""Jobs of methods that PEFT computes, from the request to the published adapter, beside jobs of LoRA."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from cli.demo.compare import mean_loss
from cli.embedded import EmbeddedServers
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.service.api import Tenant, dataset, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.service.trainer import job_of, running
from worker.engine.step import loop

ROWS = dataset(12)
HYPERPARAMETERS = {"n_epochs": 4, "batch_size": 4}


def create(tenant: Tenant, adapter: dict[str, Any]) -> str:
    files = {"training_file": tenant.upload(ROWS), "validation_file": tenant.upload(ROWS)}
    body = {"adapter": adapter, "hyperparameters": HYPERPARAMETERS, "training": {"learning_rate": 2e-2}}
    return str(tenant.create_job(model=TINY, **files, **body)["id"])


@pytest.mark.exhaustive
def test_a_job_of_peft_s_trains_alone_and_its_adapter_gives_the_job_s_loss_in_plain_peft(
    servers: EmbeddedServers, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = write_base(tmp_path, dtype="fp32")
    rounds: list[set[str]] = []
    train_round = loop.train_round

    def recorded(context: Any, trainees: Any) -> Any:
        rounds.append({trainee.adapter.name for trainee in trainees})
        return train_round(context, trainees)

    monkeypatch.setattr(loop, "train_round", recorded)
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        tenant = api.tenant()
        adapters = {"type": "lora"}, {"type": "prefix_tuning", "num_virtual_tokens": 4}, {"type": "lora"}
        before, prefix, behind = (create(tenant, adapter) for adapter in adapters)
        with running(api):
            for job_id in (before, prefix, behind):
                wait_for(lambda job_id=job_id: job_of(api, job_id).status not in ("queued", "running"), 240)
        assert {job_of(api, job_id).status for job_id in (before, prefix, behind)} == {"succeeded"}
        assert [trainees for trainees in rounds if prefix in trainees] == [{prefix}] * 12

        events = [event.data for event in tenant.openai.fine_tuning.jobs.list_events(prefix)]
        metrics = {data["step"]: data for data in events if data and "train_loss" in data}
        assert metrics[12]["train_loss"] < metrics[1]["train_loss"]
        archive = tenant.http.get(f"/v1/adapters/{tenant.job(prefix)['adapter_id']}/content").content
    folder = tmp_path / "adapter"
    zipfile.ZipFile(io.BytesIO(archive)).extractall(folder)
    card = (folder / "README.md").read_text()
    assert "tags: [prefix_tuning, tunery]" in card
    assert "| num_virtual_tokens | 4 |" in card
    assert json.loads((folder / "manifest.json").read_text())["training"]["target_modules"] == []
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "model"), folder)
    rows = [json.loads(line)["messages"] for line in ROWS.splitlines()]
    loss = mean_loss(plain, AutoTokenizer.from_pretrained(folder), rows)
    assert loss == pytest.approx(metrics[12]["full_valid_loss"], rel=1e-3)
