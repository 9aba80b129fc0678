"""Requests for jobs that no worker could train. They are refused at once, and not after a wait."""

from typing import Any

import pytest
from sqlalchemy import func, select

from core.tables import Event, Job
from tests.fixtures.models.unsuitable import SUITABLE, UNSUITABLE, Asked, defaults_of, refusal_text
from tests.fixtures.service.api import BASE_MODEL, QUANTISED_MODEL, Api, Tenant, refusal

pytestmark = pytest.mark.family(30)

JOBS, SWEEPS = "/v1/fine_tuning/jobs", "/v1/fine_tuning/sweeps"
ROWS = 12


@pytest.fixture(scope="module")
def file_id(alice: Tenant) -> str:
    return alice.upload()


def body(file_id: str, adapter: dict[str, Any], quantised: bool, sharded: bool) -> dict[str, Any]:
    training = {"devices": 2, "fsdp": "full_shard"} if sharded else {}
    model = QUANTISED_MODEL if quantised else BASE_MODEL
    return {"model": model, "training_file": file_id, "adapter": adapter, "training": training}


def jobs(api: Api) -> int:
    with api.sessions() as session:
        return session.scalars(select(func.count()).select_from(Job)).one()


@pytest.mark.parametrize("asked", UNSUITABLE, ids=refusal_text)
def test_an_adapter_that_the_base_model_does_not_take_is_refused_with_what_to_do(
    api: Api, alice: Tenant, file_id: str, asked: Asked
) -> None:
    before = jobs(api)
    answer = alice.http.post(JOBS, json=body(file_id, asked.adapter, asked.quantised, asked.sharded))
    assert asked.says in refusal(answer, 400, asked.param, "invalid_value")["message"]
    assert jobs(api) == before


@pytest.mark.parametrize("asked", SUITABLE, ids=refusal_text)
def test_an_adapter_that_the_base_model_takes_is_taken(alice: Tenant, file_id: str, asked: Any) -> None:
    answer = alice.http.post(JOBS, json=body(file_id, *asked))
    assert answer.status_code == 200, answer.text


def test_a_method_tells_before_what_would_be_refused(alice: Tenant) -> None:
    found = {method["id"]: method for method in alice.http.get("/v1/methods").json()["data"]}
    by_default = [each for each in UNSUITABLE if each.adapter == defaults_of(each.adapter["type"])]
    quantised = {each.adapter["type"] for each in by_default if each.quantised}
    sharded = {each.adapter["type"] for each in by_default if each.sharded}
    for name, method in found.items():
        assert method["takes_quantized"] == (name not in quantised)
        assert method["takes_fsdp"] == (name not in sharded)


@pytest.mark.parametrize(
    ("adapter", "param", "says"),
    [
        ({"init_lora_weights": "orthogonal", "r": 7}, "adapter.r", "even ranks, and this one is 7"),
        (
            {"init_lora_weights": "orthogonal", "rank_pattern": {"q_proj": 4, "v_proj": 3}},
            "adapter.rank_pattern.v_proj",
            "even ranks, and this one is 3",
        ),
        ({"type": "adalora", "tinit": 20, "tfinal": 10}, "adapter.tinit", "The job has 30 steps"),
        (
            {"type": "boft", "boft_block_size": 5, "boft_n_butterfly_factor": 2},
            "adapter.boft_block_size",
            "must be even",
        ),
    ],
)
def test_options_by_which_no_base_model_trains_are_refused(
    alice: Tenant, file_id: str, adapter: dict[str, Any], param: str, says: str
) -> None:
    asked = {**body(file_id, adapter, False, False), "hyperparameters": {"n_epochs": 10, "batch_size": 4}}
    assert says in refusal(alice.http.post(JOBS, json=asked), 400, param, "invalid_value")["message"]


def test_ranks_that_leave_steps_to_fall_in_are_taken(alice: Tenant, file_id: str) -> None:
    adapter = {"type": "adalora", "tinit": 20, "tfinal": 9}
    asked = {**body(file_id, adapter, False, False), "hyperparameters": {"n_epochs": 10, "batch_size": 4}}
    assert alice.http.post(JOBS, json=asked).is_success


@pytest.mark.parametrize(
    ("adapter", "parameters", "param"),
    [
        ({"init_lora_weights": "pissa"}, {"adapter.r": [4, 8]}, "adapter.init_lora_weights"),
        ({"init_lora_weights": "orthogonal"}, {"adapter.r": [4, 7]}, "parameters.adapter.r"),
        ({"init_lora_weights": "orthogonal", "r": 7}, {"adapter.lora_alpha": [4, 8]}, "adapter.r"),
    ],
)
def test_a_sweep_is_refused_as_its_candidates_would_be(
    alice: Tenant, file_id: str, adapter: dict[str, Any], parameters: dict[str, Any], param: str
) -> None:
    asked = {**body(file_id, adapter, True, False), "validation_file": file_id, "parameters": parameters}
    refusal(alice.http.post(SWEEPS, json=asked), 400, param, "invalid_value")


@pytest.mark.parametrize("validated", [True, False])
def test_ranks_that_nothing_will_be_measured_of_are_told_and_trained(
    api: Api, alice: Tenant, file_id: str, validated: bool
) -> None:
    """An adapter of each rank can be downloaded even if its loss was not measured."""
    files = {"training_file": file_id, "validation_file": file_id if validated else None}
    job = alice.create_job(adapter={"dynamic_rank": True}, **files)
    with api.sessions() as session:
        found = session.scalars(select(Event).where(Event.job_id == job["id"], Event.level == "warn")).all()
    assert [event.data["code"] for event in found] == ([] if validated else ["ranks_without_losses"])
    assert validated or "Name one in 'validation_file'" in found[0].message
