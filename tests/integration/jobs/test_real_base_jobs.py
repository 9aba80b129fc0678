"""Jobs on the base model that ships with Tunery, as users of the official client run them."""

import base64
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from math import log
from pathlib import Path

import httpx2
import pytest
from peft import PeftConfig
from safetensors.torch import load_file

from cli.commands.files import sample
from cli.demo import compare
from cli.embedded import EmbeddedServers
from core.catalog import SMOLLM2
from core.roles import Role
from faults.receiver import Receiver
from tests.fixtures.outside.tracker_files import tensorboard_scalars
from tests.fixtures.service.api import Api, wait_for
from tests.fixtures.service.stack import MODELS, Stack, preference, stack_on

JOB_SECONDS = 400
ROWS, HELD_OUT, PAIRS = 12, 4, 12


@pytest.fixture(scope="module")
def stack(
    servers: EmbeddedServers, job_api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack with one worker for all tests here: loading this base takes a while."""
    with stack_on(servers, job_api, tmp_path_factory.mktemp("real-base")) as stack:
        stack.start_worker()
        yield stack


def test_the_official_client_runs_the_main_job_and_plain_peft_agrees_with_it(
    stack: Stack, receiver: Receiver, tmp_path: Path
) -> None:
    client = stack.tenant.openai
    endpoint = stack.api.tenant(stack.tenant.project, Role.ADMIN).openai.webhooks.create(
        name="ours", url=receiver.url, event_types=["fine_tuning.job.succeeded"]
    )
    training = sample.sample_files(ROWS)[sample.TRAINING_NAME]
    held_out = [ticket.row for ticket in sample.held_out(HELD_OUT)]
    validation = "".join(json.dumps(row) + "\n" for row in held_out).encode()
    training_file = client.files.create(file=("train.jsonl", training), purpose="fine-tune")
    validation_file = client.files.create(file=("valid.jsonl", validation), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model=SMOLLM2.id,
        training_file=training_file.id,
        validation_file=validation_file.id,
        suffix="reverse",
        seed=5,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
        extra_body={
            "adapter": {"type": "lora", "r": 8},
            "training": {"learning_rate": 1e-3},
            "integrations": [{"type": "tensorboard"}],
        },
    )
    assert job.status == "queued"
    ended = wait_for(
        lambda: (now := client.fine_tuning.jobs.retrieve(job.id)).status not in ("queued", "running") and now,
        JOB_SECONDS,
    )
    assert ended.status == "succeeded", ended.error
    assert ended.fine_tuned_model in {model.id for model in client.models.list()}

    events = list(client.fine_tuning.jobs.list_events(job.id, limit=5))  # pages of five, to the end
    assert len({event.id for event in events}) == len(events)
    metrics = [event.data for event in reversed(events) if event.type == "metrics"]
    assert [entry["step"] for entry in metrics] == list(range(1, 7))
    assert metrics[-1]["train_loss"] < 0.8 * metrics[0]["train_loss"]
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert [checkpoint.step_number for checkpoint in checkpoints] == [6, 3]
    reported = metrics[-1]["full_valid_loss"]
    assert checkpoints[0].metrics.full_valid_loss == pytest.approx(reported)

    table = base64.b64decode(client.files.content(ended.result_files[0]).text).decode().splitlines()
    assert table[0] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert len(table) == 7

    wait_for(lambda: receiver.requests)
    (told,) = receiver.requests
    event = client.webhooks.unwrap(told.body, told.headers, secret=endpoint.signing_secret)
    assert (event.type, event.data.id) == ("fine_tuning.job.succeeded", job.id)
    files = wait_for(lambda: client.fine_tuning.jobs.retrieve(job.id).result_files[1:], 60)
    losses = tensorboard_scalars(client.files.content(files[0]).read())["train_loss"]
    assert losses == [(entry["step"], pytest.approx(entry["train_loss"])) for entry in metrics]

    adapter_id = ended.model_extra["adapter_id"]
    archive = client.get(f"/adapters/{adapter_id}/content", cast_to=httpx2.Response)
    folder = tmp_path / "adapter"
    zipfile.ZipFile(io.BytesIO(archive.content)).extractall(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == SMOLLM2.repository
    assert set(config["target_modules"]) == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
    assert not (folder / "added_tokens.json").exists()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["dataset"]["training_file"]["id"] == training_file.id

    loss = loss_in_plain_peft(folder, held_out, tmp_path)
    assert loss == pytest.approx(reported, rel=0.01)


def loss_in_plain_peft(adapter: Path, rows: list[dict[str, object]], scratch: Path) -> float:
    """What transformers and PEFT make of the adapter, in a fresh process that knows nothing of Tunery."""
    request = {
        "dtype": json.loads((adapter / "manifest.json").read_text())["training"]["dtype"],
        "base": str(MODELS / SMOLLM2.id / SMOLLM2.revision),
        "adapter": str(adapter),
        "rows": rows,
        "max_new_tokens": 1,
    }
    (scratch / "request.json").write_text(json.dumps(request))
    subprocess.run(
        [sys.executable, compare.__file__, scratch / "request.json", scratch / "result.json"],
        check=True,
        cwd=scratch,
    )
    return float(json.loads((scratch / "result.json").read_text())["after"]["loss"])


@pytest.mark.exhaustive
def test_a_dpo_job_learns_what_is_preferred(stack: Stack, tmp_path: Path) -> None:
    client = stack.tenant.openai
    tickets = sample.held_out(PAIRS + HELD_OUT)
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
            "dpo": {"hyperparameters": {"n_epochs": 3, "batch_size": 6, "learning_rate_multiplier": 1.0}},
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


@pytest.mark.exhaustive
def test_the_official_client_has_a_model_learn_from_rewards(stack: Stack) -> None:
    """A model that may say anything learns to answer with one word, because a grader rewards that."""
    client = stack.tenant.openai
    rows = [
        {"messages": [{"role": "user", "content": f"Is {number} an even number?"}], "word": "Maybe"}
        for number in range(40)
    ]
    content = "\n".join(map(json.dumps, rows)).encode()
    training, validation = (
        client.files.create(file=(f"{name}.jsonl", part), purpose="fine-tune").id
        for name, part in (("train", content), ("valid", b"\n".join(content.split(b"\n")[:10])))
    )
    source = "def grade(sample, item):\n    return 1 / (1 + len(sample['output_text'].split()))"
    job = client.fine_tuning.jobs.create(
        model=SMOLLM2.id,
        training_file=training,
        validation_file=validation,
        seed=5,
        method={
            "type": "reinforcement",
            "reinforcement": {
                "grader": {"type": "python", "name": "brief", "source": source},
                "hyperparameters": {
                    "n_epochs": 1,
                    "batch_size": 4,
                    "num_generations": 4,
                    "max_completion_tokens": 24,
                    "mask_truncated": False,
                    "eval_interval": 10,  # as many as its steps
                },
            },
        },
        extra_body={"training": {"learning_rate": 1e-3, "lr_scheduler_type": "constant", "warmup_ratio": 0}},
    )
    wait_for(lambda: client.fine_tuning.jobs.retrieve(job.id).finished_at is not None, JOB_SECONDS)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "succeeded"
    events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    rewards = {
        event.data["step"]: event.data["full_valid_mean_reward"]
        for event in events
        if event.type == "metrics" and "full_valid_mean_reward" in event.data
    }
    assert rewards[10] > 1.5 * rewards[0], rewards
