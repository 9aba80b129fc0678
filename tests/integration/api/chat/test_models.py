"""Whom a `model` stands for: a base model, a fine-tuned model, a checkpoint or an adapter, of one project."""

from pathlib import Path
from typing import NamedTuple

import pytest

from api.models.chat_models import ChatModel, resolve
from core.catalog import load_catalog
from core.errors import NotFound
from core.roles import Role
from core.tables import Adapter, CheckpointPermission
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal


class Trained(NamedTuple):
    """A job that has ended, with a checkpoint at step 3."""

    model: str
    checkpoint: str
    adapter_id: str
    prefix: str


@pytest.fixture
def trained(api: Api, alice: Tenant, adapter_folder: Path) -> Trained:
    lease = api.claim(alice.create_job()["id"])
    api.checkpoint(lease, 3)
    adapter_id = api.finish(lease, adapter_folder)
    model = str(alice.job(lease.job_id)["fine_tuned_model"])
    with api.sessions() as session:
        prefix = session.get_one(Adapter, adapter_id).object_prefix
    return Trained(model, f"{model}:ckpt-step-3", adapter_id, prefix)


def find(api: Api, tenant: Tenant, name: str, key: str = "") -> ChatModel:
    catalog = load_catalog(api.settings.catalog_file)
    with api.sessions() as session:
        return resolve(session, tenant.project_id, catalog, name, lambda: key)


def test_a_base_model_has_no_adapter(api: Api, alice: Tenant) -> None:
    model = find(api, alice, BASE_MODEL)
    assert (model.name, model.served.base, model.served.adapter) == (BASE_MODEL, BASE_MODEL, None)


def test_a_model_and_its_adapters_id_stand_for_the_same_files(
    api: Api, alice: Tenant, trained: Trained
) -> None:
    by_name, by_id = find(api, alice, trained.model), find(api, alice, trained.adapter_id)
    assert by_name == by_id
    assert by_name.name == trained.model
    adapter = by_name.served.adapter
    assert by_name.served.base == BASE_MODEL
    assert adapter is not None
    assert adapter.prefix == trained.prefix
    assert [file.name for file in adapter.files] == ["adapter_config.json", "adapter_model.safetensors"]


def test_a_checkpoint_stands_for_its_own_files(api: Api, alice: Tenant, trained: Trained) -> None:
    model = find(api, alice, trained.checkpoint)
    assert model.name == trained.checkpoint
    assert model.served.adapter is not None
    assert model.served.adapter.prefix.startswith("checkpoints/")


def test_a_checkpoint_of_a_job_that_still_trains_is_a_model(api: Api, alice: Tenant) -> None:
    lease = api.claim(alice.create_job()["id"])
    api.checkpoint(lease, 2)
    listed = alice.http.get(f"/v1/fine_tuning/jobs/{lease.job_id}/checkpoints").json()["data"]
    assert alice.job(lease.job_id)["status"] == "running"
    assert find(api, alice, listed[0]["fine_tuned_model_checkpoint"]).served.base == BASE_MODEL


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/tokenize"])
def test_another_projects_model_is_as_unknown_as_one_that_never_was(
    bob: Tenant, trained: Trained, path: str
) -> None:
    prompt = (
        {"prompt": "x"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "x"}]}
    )
    for name in (trained.model, trained.checkpoint, trained.adapter_id):
        for asked in (name, name.replace(name[-4:], "0000")):
            answer = bob.http.post(path, json={"model": asked, **prompt})
            error = refusal(answer, 404, "model", "model_not_found")
            assert (
                error["message"]
                == f"The model '{asked}' does not exist. GET /v1/models lists the models that you may ask."
            )


def test_a_project_with_which_a_model_is_shared_can_chat_with_it(
    api: Api, alice: Tenant, bob: Tenant, trained: Trained
) -> None:
    admin = api.tenant("alice", Role.ADMIN)
    permissions = admin.openai.fine_tuning.checkpoints.permissions
    permissions.create(trained.checkpoint, project_ids=[bob.project_id])
    assert find(api, bob, trained.checkpoint) == find(api, alice, trained.checkpoint)
    with pytest.raises(NotFound):
        find(api, bob, trained.model)
    shared = permissions.create(trained.model, project_ids=[bob.project_id]).data[0]
    assert find(api, bob, trained.adapter_id) == find(api, bob, trained.model)
    with api.sessions.begin() as session:
        session.delete(session.get_one(CheckpointPermission, shared.id))
    with pytest.raises(NotFound):
        find(api, bob, trained.adapter_id)


def test_a_deleted_model_cannot_be_chatted_with(api: Api, alice: Tenant, trained: Trained) -> None:
    alice.http.delete(f"/v1/models/{trained.model}")
    for name in (trained.model, trained.adapter_id):
        with pytest.raises(NotFound):
            find(api, alice, name)
    assert find(api, alice, trained.checkpoint)


def test_an_alias_stands_for_its_model_in_its_project_alone(
    api: Api, alice: Tenant, bob: Tenant, trained: Trained
) -> None:
    alice.http.post("/v1/aliases", json={"name": "prod", "model": trained.model})
    assert find(api, alice, "prod") == find(api, alice, trained.model)
    with pytest.raises(NotFound):
        find(api, bob, "prod")


def test_an_alias_with_weights_gives_each_key_one_of_its_models(
    api: Api, alice: Tenant, trained: Trained
) -> None:
    weights = {trained.model: 3, BASE_MODEL: 1}
    alice.http.post("/v1/aliases", json={"name": "canary", "weights": weights})
    found = [find(api, alice, "canary", f"user-{number}").name for number in range(100)]
    assert found == [find(api, alice, "canary", f"user-{number}").name for number in range(100)]
    assert set(found) == set(weights)
    assert found.count(trained.model) > found.count(BASE_MODEL)
