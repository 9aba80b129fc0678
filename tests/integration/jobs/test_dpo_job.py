"""A DPO job as a user of the official client runs it, from pairs to an adapter that PEFT loads."""

import io
import zipfile
from math import log
from pathlib import Path

import httpx2
from peft import PeftConfig
from safetensors.torch import load_file

from core.catalog import SMOLLM2
from core.datasets import sample
from tests.fixtures.api import wait_for
from tests.fixtures.stack import Stack, preference

JOB_SECONDS = 400
PAIRS = 16


def test_a_dpo_job_learns_what_is_preferred(stack: Stack, tmp_path: Path) -> None:
    client = stack.tenant.openai
    stack.start_worker()
    tickets = sample.held_out(PAIRS + 4)
    training_file = client.files.create(
        file=("pairs.jsonl", preference(tickets[:PAIRS])), purpose="fine-tune"
    )
    validation_file = client.files.create(
        file=("held_out.jsonl", preference(tickets[PAIRS:])), purpose="fine-tune"
    )
    job = client.fine_tuning.jobs.create(
        model=SMOLLM2.id,
        training_file=training_file.id,
        validation_file=validation_file.id,
        seed=5,
        method={
            "type": "dpo",
            "dpo": {"hyperparameters": {"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 1.0}},
        },
        extra_body={"adapter": {"type": "lora", "r": 8}},
    )
    ended = wait_for(
        lambda: (now := client.fine_tuning.jobs.retrieve(job.id)).status not in ("queued", "running") and now,
        JOB_SECONDS,
    )
    assert ended.status == "succeeded", ended.error
    events = list(client.fine_tuning.jobs.list_events(job.id))
    metrics = [event.data for event in reversed(events) if event.type == "metrics"]
    assert [entry["step"] for entry in metrics] == list(range(1, 7))
    assert abs(metrics[0]["train_loss"] - log(2)) < 0.02, "the model begins as its own reference"
    assert metrics[-1]["train_loss"] < 0.9 * log(2)
    assert metrics[-1]["rewards/accuracies"] > 0.8
    assert metrics[-1]["rewards/margins"] > metrics[0]["rewards/margins"]
    assert metrics[-1]["full_valid_loss"] < log(2)
    assert metrics[-1]["full_valid_rewards/accuracies"] > 0.5

    archive = client.get(f"/adapters/{ended.model_extra['adapter_id']}/content", cast_to=httpx2.Response)
    folder = tmp_path / "adapter"
    zipfile.ZipFile(io.BytesIO(archive.content)).extractall(folder)
    assert PeftConfig.from_pretrained(str(folder)).r == 8
    assert all(tensor.isfinite().all() for tensor in load_file(folder / "adapter_model.safetensors").values())
    assert "DPO" in (folder / "README.md").read_text()
