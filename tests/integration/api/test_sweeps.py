"""Sweeps and automatic ranks: which requests are possible, and what the answers show."""

from typing import Any

import pytest

from api.jobs.candidates.queries import MOST_POINTS, curves
from core.tables import AuditLog, CandidateMetric, Job
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal

SWEEPS, JOBS = "/v1/fine_tuning/sweeps", "/v1/fine_tuning/jobs"
TWO_RANKS = {"adapter.r": [4, 8]}


@pytest.fixture
def body(alice: Tenant) -> dict[str, Any]:
    file_id = alice.upload()
    return {"model": BASE_MODEL, "training_file": file_id, "validation_file": file_id}


def candidates(api: Api, sweep: dict[str, Any]) -> list[dict[str, Any]]:
    with api.sessions() as session:
        found: list[dict[str, Any]] = session.get_one(Job, sweep["job_id"]).spec["search"]["candidates"]
    return found


def test_every_combination_is_a_candidate_and_alpha_follows_the_rank(
    api: Api, alice: Tenant, body: dict[str, Any]
) -> None:
    parameters = {
        "adapter.r": [4, 8],
        "training.learning_rate": [1e-4, 1e-3],
        "adapter.target_modules": [["q_proj"], "all-linear"],
    }
    sweep = alice.http.post(SWEEPS, json={**body, "parameters": parameters}).json()
    found = candidates(api, sweep)
    made = [
        (each["learning_rate"], each["adapter"]["r"], each["adapter"]["target_modules"]) for each in found
    ]
    assert len(made) == 8
    assert {str(each) for each in made} == {
        str((rate, r, targets))
        for rate in (1e-4, 1e-3)
        for r in (4, 8)
        for targets in (["q_proj"], "all-linear")
    }
    assert all(each["adapter"]["lora_alpha"] == 2 * each["adapter"]["r"] for each in found)
    assert sweep["parameters"] == parameters
    assert [each["status"] for each in sweep["candidates"]] == ["waiting"] * 8


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"adapter": {"lora_alpha": 10}}, {10}),
        ({"parameters": {**TWO_RANKS, "adapter.lora_alpha": [3]}}, {3}),
    ],
)
def test_an_alpha_that_is_named_stays(
    api: Api, alice: Tenant, body: dict[str, Any], change: dict[str, Any], expected: set[int]
) -> None:
    sweep = alice.http.post(SWEEPS, json={**body, "parameters": TWO_RANKS, **change}).json()
    assert {each["adapter"]["lora_alpha"] for each in candidates(api, sweep)} == expected


def test_an_automatic_alpha_is_twice_the_rank(api: Api, alice: Tenant, body: dict[str, Any]) -> None:
    job = alice.http.post(JOBS, json={**body, "adapter": {"r": 24, "lora_alpha": "auto"}}).json()
    assert (job["adapter"]["r"], job["adapter"]["lora_alpha"]) == (24, 48)
    adapter = {"lora_alpha": "auto"}
    sweep = alice.http.post(SWEEPS, json={**body, "parameters": TWO_RANKS, "adapter": adapter}).json()
    assert {each["adapter"]["lora_alpha"] for each in candidates(api, sweep)} == {8, 16}


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"parameters": {}}, "parameters", "missing_required_parameter"),
        ({"parameters": {"adapter.r": [4]}}, "parameters", "invalid_value"),
        ({"parameters": {"adapter.r": [4, 4]}}, "parameters.adapter.r", "invalid_value"),
        ({"parameters": {"adapter.r": list(range(1, 18))}}, "parameters.adapter.r", "invalid_value"),
        (
            {"parameters": {"adapter.r": [1, 2, 3, 4, 5], "adapter.lora_alpha": [1, 2, 3, 4]}},
            "parameters",
            "invalid_value",
        ),
        (
            {"parameters": {"adapter.lora_dropout": [0.0, 0.1]}},
            "parameters.adapter.lora_dropout",
            "unknown_parameter",
        ),
        ({"adapter": {"type": "adalora"}}, "parameters.adapter.r", "invalid_value"),
        ({"adapter": {"type": "vera"}}, "adapter.type", "invalid_value"),
        ({"adapter": {"r": "auto"}}, "adapter.r", "invalid_value"),
        ({"validation_file": None}, "validation_file", "validation_file_required"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    alice: Tenant, body: dict[str, Any], change: dict[str, Any], param: str, code: str
) -> None:
    refusal(alice.http.post(SWEEPS, json={**body, "parameters": TWO_RANKS, **change}), 400, param, code)


def test_an_automatic_rank_needs_a_validation_file(alice: Tenant, body: dict[str, Any]) -> None:
    asked = {**body, "validation_file": None, "adapter": {"r": "auto"}}
    refusal(alice.http.post(JOBS, json=asked), 400, "validation_file", "validation_file_required")


def test_a_sweep_is_listed_and_cancelled_and_is_no_other_projects(
    api: Api, alice: Tenant, bob: Tenant, body: dict[str, Any]
) -> None:
    first, second = (alice.http.post(SWEEPS, json={**body, "parameters": TWO_RANKS}).json() for _ in range(2))
    alice.create_job()
    page = alice.http.get(SWEEPS, params={"limit": 1}).json()
    assert [each["id"] for each in page["data"]] == [second["id"]]
    assert page["has_more"]
    after = alice.http.get(SWEEPS, params={"after": page["last_id"], "limit": 1}).json()
    assert [each["id"] for each in after["data"]] == [first["id"]]
    url = f"{SWEEPS}/{first['id']}"
    refusal(bob.http.get(url), 404, "sweep_id", "sweep_not_found")
    assert alice.http.post(f"{url}/cancel").json()["status"] == "cancelled"
    assert alice.job(first["job_id"])["status"] == "cancelled"
    plain = alice.create_job()["id"].replace("ftjob-", "ftsweep-")
    refusal(alice.http.get(f"{SWEEPS}/{plain}"), 404, "sweep_id", "sweep_not_found")
    with api.sessions() as session:
        deeds = session.query(AuditLog.action).filter(AuditLog.resource_id == first["id"])
        assert {action for (action,) in deeds} == {"sweep.created", "sweep.cancelled"}


def test_a_job_of_one_adapter_has_no_candidates(alice: Tenant) -> None:
    url = f"{JOBS}/{alice.create_job()['id']}/candidates"
    assert alice.http.get(url).json() == {
        "object": "list",
        "data": [],
        "has_more": False,
        "winner": None,
        "cost": None,
    }
    assert alice.http.get(f"{url}/curves").text.startswith("<svg")


def test_a_long_curve_is_drawn_thinned_to_its_end(api: Api, alice: Tenant, body: dict[str, Any]) -> None:
    sweep = alice.http.post(SWEEPS, json={**body, "parameters": TWO_RANKS}).json()
    steps = 2_001
    with api.sessions.begin() as session:
        for number in range(2):
            for step in range(1, steps + 1):
                data = {"train_loss": 1.0}
                session.add(CandidateMetric(job_id=sweep["job_id"], number=number, step=step, data=data))
    with api.sessions() as session:
        found = curves(session, sweep["job_id"])
    assert [curve.number for curve in found] == [0, 1]
    assert all(MOST_POINTS <= len(curve.points) <= 1.1 * MOST_POINTS for curve in found)
    assert {curve.points[-1] for curve in found} == {(steps, 1.0)}
