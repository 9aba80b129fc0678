"""/v1/aliases over real HTTP: moves, history, the way back, and what an alias keeps from deletion."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import openai
import pytest
from openai.types import Model
from sqlalchemy import select

from core.roles import Role
from core.tables import AuditLog
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal, strictly

ALIASES = "/v1/aliases"
OTHER = "small-model"


class Trained(NamedTuple):
    job_id: str
    adapter_id: str
    model: str
    checkpoint: str


@pytest.fixture
def team(api: Api) -> Tenant:
    return api.tenant()


def train(tenant: Tenant, folder: Path) -> Trained:
    lease = tenant.api.claim(tenant.create_job()["id"])
    tenant.api.checkpoint(lease, 3)
    adapter_id = tenant.api.finish(lease, folder)
    model = tenant.job(lease.job_id)["fine_tuned_model"]
    return Trained(lease.job_id, adapter_id, model, f"{model}:ckpt-step-3")


def put(tenant: Tenant, name: str = "prod", **body: Any) -> httpx.Response:
    return tenant.http.post(ALIASES, json={"name": name, **body})


def leads(tenant: Tenant, name: str = "prod") -> dict[str, int]:
    weights: dict[str, int] = tenant.http.get(f"{ALIASES}/{name}").json()["weights"]
    return weights


def back(tenant: Tenant, **body: Any) -> httpx.Response:
    return tenant.http.post(f"{ALIASES}/prod/back", json=body)


def test_an_alias_moves_and_remembers_who_moved_it(team: Tenant, adapter_folder: Path) -> None:
    trained = train(team, adapter_folder)
    colleague = team.api.tenant(team.project, Role.ADMIN)
    made = put(team, model=trained.model).json()
    assert (made["id"], made["model"], made["version"]) == ("prod", trained.model, 1)
    moved = put(colleague, weights={trained.model: 95, BASE_MODEL: 5}).json()
    assert (moved["model"], moved["version"]) == (None, 2)
    assert leads(team) == {trained.model: 95, BASE_MODEL: 5}
    history = team.http.get(f"{ALIASES}/prod/history").json()
    assert [(move["version"], move["moved_by"]["id"]) for move in history["data"]] == [
        (2, colleague.key.split("_")[1]),
        (1, team.key.split("_")[1]),
    ]
    assert history["data"][0]["moved_by"]["name"] == "test"
    first = team.http.get(f"{ALIASES}/prod/history", params={"limit": 1}).json()
    rest = team.http.get(f"{ALIASES}/prod/history", params={"after": first["last_id"]}).json()
    assert (first["has_more"], [move["version"] for move in rest["data"]]) == (True, [1])
    with team.api.sessions() as session:
        of_project = select(AuditLog.action).where(AuditLog.project_id == team.project_id)
        assert session.scalars(of_project.where(AuditLog.resource_id == "prod")).all() == ["alias.moved"] * 2


def test_an_alias_that_leads_there_already_stays_as_it_is(team: Tenant) -> None:
    made = put(team, model=BASE_MODEL).json()
    assert put(team, model=BASE_MODEL).json() == made


def test_each_way_back_goes_one_move_further_and_never_to_what_was_taken_back(team: Tenant) -> None:
    good, bad, newer = {BASE_MODEL: 1}, {OTHER: 1}, {BASE_MODEL: 9, OTHER: 1}
    for weights in (good, bad):
        put(team, weights=weights)
    assert back(team).json()["weights"] == good
    refusal(back(team), 400, None, "no_earlier_version")
    put(team, weights=newer)
    assert back(team).json()["weights"] == good
    refusal(back(team), 400, None, "no_earlier_version")
    history = team.http.get(f"{ALIASES}/prod/history").json()["data"]
    assert [move["restored"] for move in history] == [1, None, 1, None, None]


def test_a_repeated_request_moves_back_once(team: Tenant) -> None:
    for weights in ({BASE_MODEL: 1}, {OTHER: 1}, {BASE_MODEL: 1, OTHER: 1}):
        put(team, weights=weights)
    for _ in range(2):
        headers = {"idempotency-key": "once"}
        assert team.http.post(f"{ALIASES}/prod/back", json={}, headers=headers).json()["version"] == 4
    assert team.http.post(f"{ALIASES}/prod/back").json()["weights"] == {BASE_MODEL: 1}


def retried(count: int) -> dict[str, str]:
    return {"x-stainless-retry-count": str(count)}


def test_a_retried_move_after_an_equal_one_takes_effect(team: Tenant) -> None:
    """Its first try was refused, for example because the server was busy."""
    for model, count in ((BASE_MODEL, 0), (OTHER, 0), (BASE_MODEL, 1), (BASE_MODEL, 2)):
        body = {"name": "prod", "model": model}
        answer = team.http.post(ALIASES, json=body, headers=retried(count))
        assert answer.json()["model"] == model
        assert leads(team) == {model: 1}
    assert answer.json()["version"] == 3


def test_a_retried_way_back_is_gone_once_unless_the_alias_has_moved_since(team: Tenant) -> None:
    for weights in ({BASE_MODEL: 1}, {OTHER: 1}, {BASE_MODEL: 1, OTHER: 1}):
        put(team, weights=weights)
    ways = [team.http.post(f"{ALIASES}/prod/back", headers=retried(count)).json() for count in (0, 1)]
    assert [way["version"] for way in ways] == [4, 4]
    put(team, model=BASE_MODEL)
    ways = [team.http.post(f"{ALIASES}/prod/back", headers=retried(count)).json() for count in (1, 2)]
    assert [way["version"] for way in ways] == [6, 6]
    assert leads(team) == {OTHER: 1}


def test_a_move_that_expects_another_version_changes_nothing(team: Tenant) -> None:
    refusal(put(team, model=BASE_MODEL, version=1), 409, "version", "alias_moved")
    assert team.http.get(ALIASES).json()["data"] == []
    assert put(team, model=BASE_MODEL, version=0).status_code == 200
    refusal(put(team, model=OTHER, version=0), 409, "version", "alias_moved")
    refusal(back(team, version=7), 409, "version", "alias_moved")
    assert leads(team) == {BASE_MODEL: 1}


def test_of_many_who_move_an_alias_at_once_each_gets_a_version_of_its_own(team: Tenant) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: put(team, weights={BASE_MODEL: n + 1, OTHER: 1}), range(8)))
    assert sorted(answer.json()["version"] for answer in answers) == list(range(1, 9))


def test_who_sets_an_alias_that_another_deletes_still_sets_it(team: Tenant) -> None:
    def change(number: int) -> int:
        if number % 2:
            return team.http.delete(f"{ALIASES}/prod").status_code
        return put(team, weights={BASE_MODEL: number + 1, OTHER: 1}).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(change, range(24)))
    assert set(answers[::2]) == {200}
    assert set(answers[1::2]) <= {200, 404}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": BASE_MODEL, "model": BASE_MODEL}, "name"),
        ({"name": "ft:x", "model": BASE_MODEL}, "name"),
        ({"name": "adapter-" + "0" * 32, "model": BASE_MODEL}, "name"),
        ({"name": "", "model": BASE_MODEL}, "name"),
        ({"name": "prod"}, "model"),
        ({"name": "prod", "model": BASE_MODEL, "weights": {BASE_MODEL: 1}}, "model"),
        ({"name": "prod", "model": "unheard-of"}, "model"),
        ({"name": "prod", "model": "adapter-" + "0" * 32}, "model"),
        ({"name": "prod", "weights": {}}, "weights"),
        ({"name": "prod", "weights": {BASE_MODEL: 0}}, "weights"),
    ],
)
def test_what_is_no_alias_is_refused(team: Tenant, body: dict[str, Any], param: str) -> None:
    refusal(team.http.post(ALIASES, json=body), 400, param)
    assert team.http.get(ALIASES).json()["data"] == []


def test_an_alias_leads_to_no_other_alias_and_to_no_model_twice(team: Tenant, adapter_folder: Path) -> None:
    put(team, model=BASE_MODEL)
    refusal(put(team, "staging", model="prod"), 400, "model", "model_not_found")
    trained = train(team, adapter_folder)
    assert put(team, model=trained.adapter_id).json()["model"] == trained.model
    twice = {trained.adapter_id: 1, trained.model: 1}
    refusal(put(team, weights=twice), 400, "weights", "invalid_value")


def test_what_an_alias_leads_to_cannot_be_deleted(team: Tenant, adapter_folder: Path) -> None:
    trained = train(team, adapter_folder)
    put(team, "best", model=trained.model)
    put(team, "early", weights={trained.checkpoint: 1, BASE_MODEL: 1})
    by_model, by_adapter = f"/v1/models/{trained.model}", f"/v1/adapters/{trained.adapter_id}"
    for path in (by_model, by_adapter):
        assert "'best'" in refusal(team.http.delete(path), 409, None, "model_in_use")["message"]
    job = f"/v1/fine_tuning/jobs/{trained.job_id}"
    assert "'early'" in refusal(team.http.delete(job), 409, None, "model_in_use")["message"]
    assert team.http.get(by_adapter).status_code == team.http.get(job).status_code == 200
    for alias, path in (("best", by_model), ("early", job)):
        assert team.http.delete(f"{ALIASES}/{alias}").json()["deleted"]
        assert team.http.delete(path).status_code == 200


def test_the_way_back_to_a_deleted_model_is_refused(team: Tenant, adapter_folder: Path) -> None:
    trained = train(team, adapter_folder)
    put(team, model=trained.model)
    put(team, model=BASE_MODEL)
    assert team.http.delete(f"/v1/models/{trained.model}").status_code == 200
    refusal(back(team), 400, "model", "model_not_found")
    assert leads(team) == {BASE_MODEL: 1}


def test_a_checkpoint_of_a_job_that_still_trains_may_go_so_no_alias_leads_there(team: Tenant) -> None:
    job = team.create_job(suffix="live")
    team.api.checkpoint(team.api.claim(job["id"]), 3)
    checkpoint = f"ft:{BASE_MODEL}:{team.project}:live:{job['id'][-12:]}:ckpt-step-3"
    assert team.http.get(f"/v1/models/{checkpoint}").status_code == 200
    refusal(put(team, model=checkpoint), 400, "model", "model_not_kept")


def test_of_a_deletion_and_an_alias_at_once_only_one_succeeds(team: Tenant, adapter_folder: Path) -> None:
    for number in range(4):
        trained = train(team, adapter_folder)
        with ThreadPoolExecutor(2) as pool:
            moving = pool.submit(put, team, f"race-{number}", model=trained.model)
            deleting = pool.submit(team.http.delete, f"/v1/adapters/{trained.adapter_id}")
        assert {moving.result().is_success, deleting.result().is_success} == {True, False}


def test_the_official_client_lists_and_retrieves_aliases(team: Tenant, bob: Tenant) -> None:
    put(team, "prod", weights={BASE_MODEL: 9, OTHER: 1})
    listed = {model["id"]: model for model in team.http.get("/v1/models").json()["data"]}
    assert strictly(Model, listed["prod"]).owned_by == team.project
    assert listed["prod"]["weights"] == {BASE_MODEL: 9, OTHER: 1}
    assert "prod" in [model.id for model in team.openai.models.list()]
    assert team.openai.models.retrieve("prod").owned_by == team.project
    assert "prod" not in [model.id for model in bob.openai.models.list()]
    for client in (bob.openai, team.openai):
        with pytest.raises((openai.NotFoundError, openai.BadRequestError)):
            client.models.delete("prod")
    assert leads(team) == {BASE_MODEL: 9, OTHER: 1}


def test_a_shared_model_may_be_led_to_and_still_be_deleted_by_its_owner(
    api: Api, team: Tenant, adapter_folder: Path
) -> None:
    owner = api.tenant(role=Role.ADMIN)
    trained = train(owner, adapter_folder)
    refusal(put(team, model=trained.model), 400, "model", "model_not_found")
    owner.openai.fine_tuning.checkpoints.permissions.create(trained.model, project_ids=[team.project_id])
    assert put(team, model=trained.model).status_code == 200
    assert owner.http.delete(f"/v1/models/{trained.model}").status_code == 200


def test_paging_reaches_every_alias_once_by_name(team: Tenant) -> None:
    for name in ("c", "a", "B"):
        put(team, name, model=BASE_MODEL)
    first = team.http.get(ALIASES, params={"limit": 2}).json()
    rest = team.http.get(ALIASES, params={"limit": 2, "after": first["last_id"]}).json()
    assert sorted(entry["id"] for entry in [*first["data"], *rest["data"]]) == ["B", "a", "c"]
    assert (first["has_more"], rest["has_more"]) == (True, False)
