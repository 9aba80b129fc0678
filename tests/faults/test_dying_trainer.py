"""Jobs whose trainers die one after the other, each at another place or step.

Each job ends once, and as if nothing had happened.
"""

from pathlib import Path

import pytest

from cli.embedded import EmbeddedServers
from faults.checker import Client, check
from tests.fixtures.api import Api
from tests.fixtures.faults import crashes
from tests.fixtures.stack import Stack, stack_on
from tests.fixtures.tiny import TINY

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
STEPS = {"sql": range(2, 60, 8), "store": range(1, 30, 4), "disk": range(1, 24, 4)}
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
