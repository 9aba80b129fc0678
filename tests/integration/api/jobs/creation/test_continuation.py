"""Requests for jobs that continue from an adapter: what they inherit, and what is refused."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from api.models import parents
from api.models.queries import TunedModel, keep
from core.errors import JobError
from core.jobs.ancestor import Ancestor
from core.roles import Role
from core.tables import Adapter, Checkpoint, Job
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal
from worker.trainer.report.job_lease import JobLease
from worker.trainer.save.parent import fetch_parent

JOBS, SWEEPS = "/v1/fine_tuning/jobs", "/v1/fine_tuning/sweeps"
COMPOSE = "/v1/adapters/compose"


class Parent(NamedTuple):
    job_id: str
    model: str
    adapter_id: str


@pytest.fixture
def published(api: Api, tmp_path: Path) -> Any:
    """Publishes a file as the adapter of a job with these options."""

    def publish(tenant: Tenant, **adapter: Any) -> Parent:
        lease = api.claim(tenant.create_job(adapter=adapter)["id"])
        api.checkpoint(lease, 4)
        (tmp_path / "adapter_model.safetensors").write_bytes(b"of " + lease.job_id.encode())
        adapter_id = api.finish(lease, tmp_path)
        return Parent(lease.job_id, tenant.job(lease.job_id)["fine_tuned_model"], adapter_id)

    return publish


@pytest.fixture
def parent(alice: Tenant, published: Any) -> Parent:
    found: Parent = published(alice, r=8, lora_alpha=24, target_modules=["q_proj", "v_proj"])
    return found


def test_a_job_inherits_the_adapter_of_the_model_that_it_continues(alice: Tenant, parent: Parent) -> None:
    for name in (parent.model, parent.adapter_id, f"{parent.model}:ckpt-step-4"):
        job = alice.create_job(model=name, adapter={"r": 8, "lora_dropout": 0.1})
        own = {"r": 8, "lora_alpha": 24, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.1}
        assert {option: job["adapter"][option] for option in own} == own
        assert job["base_model"] == BASE_MODEL
        assert job["model"] == job["lineage"][0]["model"] == name.replace(parent.adapter_id, parent.model)
        alice.openai.fine_tuning.jobs.cancel(job["id"])


@pytest.mark.parametrize(
    ("adapter", "param"),
    [
        ({"r": 16}, "adapter.r"),
        ({"r": "auto"}, "adapter.r"),
        ({"lora_alpha": 16}, "adapter.lora_alpha"),
        ({"target_modules": ["q_proj"]}, "adapter.target_modules"),
        ({"use_dora": True}, "adapter.use_dora"),
        ({"init_lora_weights": "pissa"}, "adapter.init_lora_weights"),
        ({"type": "ia3"}, "adapter.type"),
    ],
)
def test_another_adapter_than_the_parent_s_is_refused(
    alice: Tenant, parent: Parent, adapter: dict[str, Any], param: str
) -> None:
    body = {"model": parent.model, "training_file": alice.upload(), "adapter": adapter}
    assert (
        "Leave 'adapter" in refusal(alice.http.post(JOBS, json=body), 400, param, "invalid_value")["message"]
    )


def test_a_sweep_of_a_continued_job_tries_learning_rates_but_no_adapters(
    alice: Tenant, parent: Parent
) -> None:
    body = {"model": parent.model, "training_file": alice.upload(), "validation_file": alice.upload()}
    ranks = {"parameters": {"adapter.r": [8, 16]}}
    refusal(alice.http.post(SWEEPS, json=body | ranks), 400, "parameters.adapter.r", "invalid_value")
    rates = {"parameters": {"training.learning_rate": [1e-3, 1e-4]}}
    answer = alice.http.post(SWEEPS, json=body | rates)
    assert answer.json()["model"] == parent.model
    alice.openai.fine_tuning.jobs.cancel(answer.json()["job_id"])


@pytest.mark.parametrize(
    ("adapter", "told"),
    [
        ({"type": "p_tuning"}, "network"),
        ({"type": "prefix_tuning", "prefix_projection": True}, "network"),
        ({"type": "vblora", "save_only_topk_weights": True}, "save_only_topk_weights"),
    ],
)
def test_an_adapter_that_no_job_can_train_on_is_refused_with_the_reason(
    alice: Tenant, published: Any, adapter: dict[str, Any], told: str
) -> None:
    body = {"model": published(alice, **adapter).model, "training_file": alice.upload()}
    error = refusal(alice.http.post(JOBS, json=body), 400, "model", "model_not_continuable")
    assert told in error["message"]


@pytest.mark.parametrize(
    ("adapter", "changed"),
    [
        ({"init_lora_weights": "eva", "r": 4}, {}),
        ({"init_lora_weights": "olora", "use_rslora": True, "rank_pattern": {"q_proj": 2}}, {}),
        ({"type": "adalora", "init_r": 9, "tinit": 1}, {"tinit": 0, "target_r": 4}),
        ({"type": "lokr", "r": 4, "decompose_factor": 4}, {}),
        ({"type": "prefix_tuning", "num_virtual_tokens": 7}, {}),
        ({"type": "full"}, {}),
    ],
)
def test_a_job_continues_an_adapter_of_any_method_with_its_options(
    alice: Tenant, published: Any, adapter: dict[str, Any], changed: dict[str, Any]
) -> None:
    parent = published(alice, **adapter)
    asked = {"adapter": adapter | changed} if changed else {}
    job = alice.create_job(model=parent.model, **asked)
    assert job["adapter"] == {**alice.job(parent.job_id)["adapter"], **changed}
    alice.openai.fine_tuning.jobs.cancel(job["id"])


@pytest.mark.parametrize(("changed", "taken"), [([], []), (["mlp.experts.down_proj"], None)])
def test_a_job_changes_no_experts_that_the_adapter_has_left_as_they_were(
    api: Api, alice: Tenant, published: Any, changed: list[str], taken: list[str] | None
) -> None:
    """A release may train experts that the one before could not; `all-linear` would take them."""
    parent = published(alice)
    training = {"decoder": "portable", "target_parameters": changed}
    with api.sessions.begin() as session:
        session.execute(update(Adapter).where(Adapter.id == parent.adapter_id).values(training=training))
    for asked in ({}, {"adapter": alice.job(parent.job_id)["adapter"]}):
        job = alice.create_job(model=parent.model, **asked)
        assert job["adapter"]["target_parameters"] == taken
        alice.openai.fine_tuning.jobs.cancel(job["id"])


def test_a_seed_that_the_parent_left_to_its_job_stays_the_parent_s(alice: Tenant, published: Any) -> None:
    """The file does not say which numbers were drawn; the same seed draws them again."""
    parent = published(alice, type="fourierft", random_loc_seed=None)
    child = alice.create_job(model=parent.model, seed=5)
    assert child["adapter"]["random_loc_seed"] == alice.job(parent.job_id)["seed"]
    alice.openai.fine_tuning.jobs.cancel(child["id"])


def test_no_job_continues_from_another_project_s_model_unless_it_is_shared(
    api: Api, alice: Tenant, bob: Tenant, parent: Parent
) -> None:
    body = {"training_file": bob.upload()}
    for name in (parent.model, parent.adapter_id, f"{parent.model}:ckpt-step-4"):
        refusal(bob.http.post(JOBS, json={**body, "model": name}), 400, "model", "model_not_available")
    admin = api.tenant(alice.project, Role.ADMIN)
    share = f"/v1/fine_tuning/checkpoints/{parent.model}/permissions"
    assert admin.http.post(share, json={"project_ids": [bob.project_id]}).status_code == 200
    job = bob.create_job(model=parent.model)
    assert job["lineage"][0]["adapter_id"] == parent.adapter_id
    # A job of another project keeps nothing from its owner
    assert alice.http.delete(f"/v1/models/{parent.model}").status_code == 200
    bob.openai.fine_tuning.jobs.cancel(job["id"])


def test_a_checkpoint_that_another_project_shares_is_chatted_with_and_gives_no_weights(
    api: Api, alice: Tenant, bob: Tenant, parent: Parent
) -> None:
    checkpoint = f"{parent.model}:ckpt-step-4"
    admin = api.tenant(alice.project, Role.ADMIN)
    share = f"/v1/fine_tuning/checkpoints/{checkpoint}/permissions"
    assert admin.http.post(share, json={"project_ids": [bob.project_id]}).is_success
    assert bob.http.get(f"/v1/models/{checkpoint}").is_success
    assert bob.http.post("/v1/aliases", json={"name": "theirs", "model": checkpoint}).is_success
    code = "checkpoint_not_continuable"
    for name in (checkpoint, "theirs"):
        job = {"model": name, "training_file": bob.upload()}
        error = refusal(bob.http.post(JOBS, json=job), 400, "model", code)
        assert "stay with its owner" in error["message"]
        composition = {"adapters": [{"adapter": name}]}
        refusal(bob.http.post(COMPOSE, json=composition), 400, "adapters.0.adapter", code)
    assert bob.http.delete("/v1/aliases/theirs").is_success
    assert alice.http.post(COMPOSE, json={"adapters": [{"adapter": checkpoint}]}).is_success


@pytest.mark.parametrize("of", ["sweep", "auto_rank"])
def test_a_checkpoint_of_several_candidates_is_refused_since_it_may_be_any_candidate_s(
    api: Api, alice: Tenant, of: str
) -> None:
    """Another candidate's `lora_alpha` would scale its matrices wrongly, and nobody would notice."""
    body = {"model": BASE_MODEL, "training_file": alice.upload(), "validation_file": alice.upload()}
    if of == "sweep":
        asked = body | {"parameters": {"adapter.lora_alpha": [8, 64]}}
        job_id = alice.http.post(SWEEPS, json=asked).json()["job_id"]
    else:
        job_id = alice.create_job(**body, adapter={"r": "auto"})["id"]
    api.checkpoint(api.claim(job_id), 4)
    alice.openai.fine_tuning.jobs.cancel(job_id)
    (checkpoint,) = alice.openai.fine_tuning.jobs.checkpoints.list(job_id).data
    name = checkpoint.fine_tuned_model_checkpoint
    assert alice.http.get(f"/v1/models/{name}").is_success
    code = "model_not_continuable"
    assert (
        "candidates"
        in refusal(alice.http.post(JOBS, json=body | {"model": name}), 400, "model", code)["message"]
    )
    composition = {"adapters": [{"adapter": name}]}
    refusal(alice.http.post(COMPOSE, json=composition), 400, "adapters.0.adapter", code)


def test_a_checkpoint_that_goes_while_it_is_looked_up_is_not_available(
    api: Api, alice: Tenant, parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept(session: Session, model: TunedModel) -> bool:
        with api.sessions.begin() as other:
            other.execute(delete(Checkpoint).where(Checkpoint.job_id == model.job_id))
        return keep(session, model)

    monkeypatch.setattr(parents, "keep", kept)
    body = {"model": f"{parent.model}:ckpt-step-4", "training_file": alice.upload()}
    refusal(alice.http.post(JOBS, json=body), 400, "model", "model_not_available")


def test_an_alias_of_several_models_is_refused(alice: Tenant, parent: Parent) -> None:
    alias = {"name": "several", "weights": {parent.model: 1, BASE_MODEL: 1}}
    assert alice.http.post("/v1/aliases", json=alias).status_code == 200
    body = {"model": "several", "training_file": alice.upload()}
    refusal(alice.http.post(JOBS, json=body), 400, "model", "ambiguous_alias")
    assert alice.http.delete("/v1/aliases/several").status_code == 200


def test_a_model_stays_as_long_as_a_job_is_to_continue_from_it(alice: Tenant, parent: Parent) -> None:
    from_model = alice.create_job(model=parent.model)["id"]
    for path in (f"/v1/models/{parent.model}", f"/v1/adapters/{parent.adapter_id}"):
        error = refusal(alice.http.delete(path), 409, code="model_in_use")
        assert from_model in error["message"]
    alice.openai.fine_tuning.jobs.cancel(from_model)
    assert alice.http.delete(f"/v1/models/{parent.model}").status_code == 200

    from_checkpoint = alice.create_job(model=f"{parent.model}:ckpt-step-4")["id"]
    refusal(alice.http.delete(f"{JOBS}/{parent.job_id}"), 409, code="model_in_use")
    alice.openai.fine_tuning.jobs.cancel(from_checkpoint)
    assert alice.http.delete(f"{JOBS}/{parent.job_id}").status_code == 200


def test_a_checkpoint_that_its_job_may_still_remove_is_refused(api: Api, alice: Tenant) -> None:
    lease = api.claim(alice.create_job()["id"])
    api.checkpoint(lease, 2)
    checkpoints = alice.openai.fine_tuning.jobs.checkpoints.list(lease.job_id).data
    body = {"model": checkpoints[0].fine_tuned_model_checkpoint, "training_file": alice.upload()}
    refusal(alice.http.post(JOBS, json=body), 400, "model", "model_not_kept")
    alice.openai.fine_tuning.jobs.cancel(lease.job_id)


@pytest.mark.parametrize("of", ["adapter", "checkpoint"])
def test_a_parent_that_is_gone_at_the_start_ends_the_job_with_its_name(
    api: Api, alice: Tenant, parent: Parent, tmp_path: Path, of: str
) -> None:
    """Another project may delete a model that it shares, so its job may find nothing."""
    model = parent.model if of == "adapter" else f"{parent.model}:ckpt-step-4"
    lease = api.claim(alice.create_job(model=model)["id"])
    with api.sessions.begin() as session:
        ancestor = Ancestor.model_validate(session.get_one(Job, lease.job_id).spec["lineage"][0])
        if of == "adapter":
            session.execute(
                update(Adapter).where(Adapter.id == parent.adapter_id).values(deleted_at=Adapter.created_at)
            )
        else:
            session.query(Checkpoint).where(Checkpoint.job_id == parent.job_id).delete()
    job_lease = JobLease(api.sessions, lease, time.monotonic())
    try:
        with pytest.raises(JobError, match=model) as error:
            fetch_parent(ancestor, job_lease, api.store, tmp_path)
    finally:
        job_lease.close()
    assert (error.value.code, error.value.param) == ("model_deleted", "model")
    alice.openai.fine_tuning.jobs.cancel(lease.job_id)


def test_an_adapter_lists_the_jobs_that_continue_from_it_itself(
    api: Api, alice: Tenant, bob: Tenant, parent: Parent, tmp_path: Path
) -> None:
    path = f"/v1/adapters/{parent.adapter_id}/descendants"
    assert alice.http.get(path).json()["data"] == []
    waits, ended, deleted = (alice.create_job(model=parent.model)["id"] for _ in range(3))
    alice.create_job(model=f"{parent.model}:ckpt-step-4")
    child = api.finish(api.claim(ended), tmp_path)
    grandchild = alice.create_job(model=alice.job(ended)["fine_tuned_model"])["id"]
    alice.openai.fine_tuning.jobs.cancel(deleted)
    alice.http.delete(f"{JOBS}/{deleted}")

    first = alice.http.get(path, params={"limit": 1}).json()
    rest = alice.http.get(path, params={"after": first["last_id"]}).json()
    found = first["data"] + rest["data"]
    assert [(row["id"], row["adapter_id"], row["status"]) for row in found] == [
        (ended, child, "succeeded"),
        (waits, None, "queued"),
    ]
    assert found[0]["model"] == alice.job(ended)["fine_tuned_model"]
    (of_child,) = alice.http.get(f"/v1/adapters/{child}/descendants").json()["data"]
    assert of_child["id"] == grandchild
    refusal(bob.http.get(path), 404, "adapter_id")
    for job_id in (waits, grandchild):
        alice.openai.fine_tuning.jobs.cancel(job_id)
