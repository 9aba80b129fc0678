"""Jobs whose trainers die one after the other, each at another place or step.

Each job ends once, and as if nothing had happened.
"""

import json
from pathlib import Path

import pytest
from safetensors.torch import load

from cli.embedded import EmbeddedServers
from faults.checker import Client, check
from tests.fixtures.engine.architectures import FAST, STATES
from tests.fixtures.faults import crashes
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.service.api import Api, wait_for
from tests.fixtures.service.stack import JOB_SECONDS, Stack, job_api_on, stack_on

pytestmark = pytest.mark.family(1)

WEIGHTS = "adapter_model.safetensors"
ROWS, EPOCHS = 24, 8  # 48 steps; a checkpoint at the end of each epoch
PLACES = (
    "claim.committed",
    "checkpoint.written",
    "checkpoint.uploaded",
    "checkpoint.recorded",
    "adapter.uploaded",
    "result.uploaded",
    "job.finished",
)
VALIDATION_PLACES = ("validation.uploaded", "validation.recorded", "checkpoint.recorded")
STEPS = {"sql": range(2, 60, 20), "store": range(1, 30, 10), "disk": range(1, 24, 8)}
EXPERTS = {
    "gpt-oss": FAST["gpt-oss, sinks and experts"],
    "qwen 3.5, beside states": STATES["qwen 3.5 moe"],
}
EVERY_STEP = {"sql": range(1, 200), "store": range(1, 80), "disk": range(1, 60)}


@pytest.fixture(scope="module")
def undisturbed(servers: EmbeddedServers, job_api: Api, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The adapter of the job, trained without any fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with stack_on(servers, job_api, folder) as stack:
        stack.start_worker()
        return weights(stack, create(stack), folder)


def create(stack: Stack) -> str:
    return stack.create_job(rows=ROWS, epochs=EPOCHS, model=TINY)


def weights(stack: Stack, job_id: str, into: Path) -> bytes:
    return (stack.assert_succeeded_exactly_once(job_id, into) / WEIGHTS).read_bytes()


def dies(kind: str, pytestconfig: pytest.Config) -> list[str]:
    if kind == "place":
        return [f"place {name} 1" for name in PLACES]
    steps = (EVERY_STEP if pytestconfig.getoption("every_step") else STEPS)[kind]
    return [f"{kind} {step}" for step in steps]


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["place", *STEPS])
def test_a_job_ends_once_and_as_if_undisturbed_wherever_its_trainers_die(
    stack: Stack, tmp_path: Path, undisturbed: bytes, kind: str, pytestconfig: pytest.Config
) -> None:
    plan = tmp_path / "plan"
    deaths = dies(kind, pytestconfig)
    stack.start_worker(crashes.plan(plan, *deaths), max_lost_attempts="1000")
    client = Client(stack.tenant)
    while crashes.left(plan):
        job_id = create(stack)
        client.jobs.add(job_id)
        assert weights(stack, job_id, tmp_path) == undisturbed
    assert stack.log().count("killed at") == len(deaths)
    check(stack.api, [client])


@pytest.mark.exhaustive
def test_a_job_with_rewards_has_each_validation_once_and_the_same_best_ones_wherever_its_trainers_die(
    stack: Stack, tmp_path: Path
) -> None:
    plan = tmp_path / "plan"
    deaths = [f"place {name} {time}" for name in VALIDATION_PLACES for time in (1, 2)]
    patient = {"max_lost_attempts": "1000", "python_grader_seconds": "30"}  # a late grade is another reward
    stack.start_worker(crashes.plan(plan, *deaths), **patient)
    client, found = Client(stack.tenant), []
    while crashes.left(plan):
        found.append(rewarded(stack, client, tmp_path))
    undisturbed = rewarded(stack, client, tmp_path)
    assert stack.log().count("killed at") == len(deaths)
    assert undisturbed[1] == ["0", "1", "2", "3", "4", "5", "6"]
    assert len(undisturbed[2]) in (3, 4), "the three best validations, and the base if it is better"
    assert found == [undisturbed] * len(found)
    check(stack.api, [client])


def rewarded(stack: Stack, client: Client, into: Path) -> tuple[bytes, list[str], list[int]]:
    """Let a job learn from rewards.

    Return its adapter, the steps of the runs of its eval, and the steps of its listed checkpoints.
    """
    grader = {
        "type": "python",
        "name": "short",
        "source": "def grade(sample, item):\n    return 1 / (1 + len(sample['output_text']))\n",
    }
    hyperparameters = {"n_epochs": 1, "batch_size": 4, "num_generations": 4, "max_completion_tokens": 8}
    hyperparameters |= {"mask_truncated": False, "eval_interval": 1}
    asked = {"grader": grader, "hyperparameters": hyperparameters}
    rows = [json.dumps({"messages": [{"role": "user", "content": f"Number {line}"}]}) for line in range(34)]
    held_out = stack.tenant.upload("\n".join(rows[24:]).encode())
    job = stack.tenant.create_job(
        model=TINY,
        training_file=stack.tenant.upload("\n".join(rows[:24]).encode()),
        validation_file=held_out,
        method={"type": "reinforcement", "reinforcement": asked},
        seed=3,
    )
    client.jobs.add(job["id"])
    adapter = weights(stack, job["id"], into)
    path = f"/v1/fine_tuning/jobs/{job['id']}"
    eval_id = stack.tenant.http.get(path).json()["eval_id"]
    runs = stack.tenant.http.get(f"/v1/evals/{eval_id}/runs").json()["data"]
    listed = stack.tenant.http.get(f"{path}/checkpoints").json()["data"]
    steps = [checkpoint["step_number"] for checkpoint in listed]
    return adapter, sorted(run["metadata"]["step"] for run in runs), steps


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", EXPERTS)
def test_a_job_on_experts_whose_trainer_is_killed_ends_as_if_undisturbed(
    servers: EmbeddedServers, database_url: str, tmp_path: Path, name: str
) -> None:
    catalog = write_base(tmp_path, make=EXPERTS[name])
    with (
        job_api_on(servers, database_url, catalog_file=catalog) as api,
        stack_on(servers, api, tmp_path) as stack,
    ):
        worker = stack.start_worker()
        wanted = weights(stack, create(stack), tmp_path)
        killed = create(stack)
        wait_for(lambda: stack.checkpoints(killed), JOB_SECONDS)
        worker.trainer().kill()
        assert weights(stack, killed, tmp_path) == wanted
        assert any(event.startswith("Resumed from the checkpoint at step") for event in stack.events(killed))
        assert [claim.outcome for claim in stack.claims(killed)] == ["lost", "succeeded"]
    trained = {each.partition("layers.1.")[2] for each in load(wanted)}
    assert {"mlp.experts.lora_A.weight", "mlp.experts.base_layer.lora_A.weight"} <= trained


@pytest.mark.exhaustive
def test_a_continued_job_whose_trainer_is_killed_goes_on_from_its_own_checkpoint(
    stack: Stack, tmp_path: Path
) -> None:
    """Its second trainer takes the weights of the checkpoint, not again those of the parent."""
    worker = stack.start_worker()
    parent = stack.create_job(rows=12, epochs=1, model=TINY)
    model = str(stack.wait_for_status(parent, "succeeded").fine_tuned_model)
    undisturbed = stack.create_job(rows=ROWS, epochs=EPOCHS, model=model)
    wanted = weights(stack, undisturbed, tmp_path)
    killed = stack.create_job(rows=ROWS, epochs=EPOCHS, model=model)
    wait_for(lambda: stack.checkpoints(killed), JOB_SECONDS)
    worker.trainer().kill()
    assert weights(stack, killed, tmp_path) == wanted
    events = stack.events(killed)
    assert events.count(f"The job begins with the weights of {model}") == 1
    assert [event for event in events if event.startswith("Resumed from the checkpoint at step")]
    assert [claim.outcome for claim in stack.claims(killed)] == ["lost", "succeeded"]
    (adapter,) = stack.adapters(killed)
    shown = stack.tenant.http.get(f"/v1/adapters/{adapter.id}").json()
    assert [each["job_id"] for each in shown["lineage"]] == [parent]
    check(stack.api, [Client(stack.tenant, {parent, undisturbed, killed})])
