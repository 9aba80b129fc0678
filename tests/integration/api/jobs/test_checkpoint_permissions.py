"""Models and checkpoints that one project shares with another, over real HTTP."""

from pathlib import Path
from typing import NamedTuple

import openai
import pytest
from openai.types.fine_tuning.checkpoints import (
    PermissionCreateResponse,
    PermissionDeleteResponse,
    PermissionRetrieveResponse,
)
from openai.types.model import Model

from core.roles import Role
from tests.fixtures.service.api import Api, Tenant, refusal, strictly


class Shared(NamedTuple):
    """An administrator of a project, and the names of its model and of two of its checkpoints."""

    admin: Tenant
    model: str
    checkpoints: list[str]


@pytest.fixture(scope="module")
def shared(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Make a project whose name holds a slash, so that the names in the URLs hold one too."""
    folder: Path = tmp_path_factory.mktemp("adapter")
    (folder / "adapter_config.json").write_text("{}")
    admin = api.tenant("team/research", Role.ADMIN)
    job_id = admin.create_job()["id"]
    lease = api.claim(job_id)
    for step in (1, 2):
        api.checkpoint(lease, step)
    api.checkpoint(lease, 3, promised=False)
    api.finish(lease, folder)
    checkpoints = [
        entry.fine_tuned_model_checkpoint for entry in admin.openai.fine_tuning.jobs.checkpoints.list(job_id)
    ]
    model = admin.job(job_id)["fine_tuned_model"]
    assert f"{model}:ckpt-step-3" not in checkpoints
    return Shared(admin, model, checkpoints)


def url(name: str) -> str:
    return f"/v1/fine_tuning/checkpoints/{name}/permissions"


def visible(tenant: Tenant) -> set[str]:
    return {model.id for model in tenant.openai.models.list() if model.id.startswith("ft:")}


def test_another_project_sees_what_is_shared_with_it_and_nothing_else(api: Api, shared: Shared) -> None:
    friend, stranger = api.tenant(), api.tenant()
    checkpoint = shared.checkpoints[0]
    permissions = shared.admin.openai.fine_tuning.checkpoints.permissions

    (permission,) = permissions.create(checkpoint, project_ids=[friend.project_id])

    assert permission.project_id == friend.project_id
    assert visible(friend) == {checkpoint}
    seen = strictly(Model, friend.http.get(f"/v1/models/{checkpoint}").json())
    assert (seen.id, seen.owned_by) == (checkpoint, "team/research")
    for name in (shared.model, shared.checkpoints[1]):
        refusal(friend.http.get(f"/v1/models/{name}"), 404, "model")
    assert visible(stranger) == set()
    refusal(stranger.http.get(f"/v1/models/{checkpoint}"), 404, "model")

    assert permissions.delete(permission.id, fine_tuned_model_checkpoint=checkpoint).deleted
    assert visible(friend) == set()
    refusal(friend.http.get(f"/v1/models/{checkpoint}"), 404, "model")
    with pytest.raises(openai.NotFoundError):
        permissions.delete(permission.id, fine_tuned_model_checkpoint=checkpoint)


def test_a_shared_model_is_used_and_not_passed_on_or_deleted(api: Api, shared: Shared) -> None:
    friend = api.tenant(role=Role.ADMIN)
    shared.admin.openai.fine_tuning.checkpoints.permissions.create(
        shared.model, project_ids=[friend.project_id]
    )
    assert visible(friend) == {shared.model}
    refusal(friend.http.delete(f"/v1/models/{shared.model}"), 403, "model", "model_not_deletable")
    body = {"project_ids": [friend.project_id]}
    refusal(friend.http.post(url(shared.model), json=body), 404, "fine_tuned_model_checkpoint")
    refusal(shared.admin.http.delete(f"/v1/models/{shared.checkpoints[0]}"), 400, "model")


def test_who_may_use_a_model_downloads_its_adapter_and_deletes_nothing(api: Api, shared: Shared) -> None:
    friend, other = api.tenant(), api.tenant()
    permissions = shared.admin.openai.fine_tuning.checkpoints.permissions
    permissions.create(shared.checkpoints[0], project_ids=[other.project_id])
    (permission,) = permissions.create(shared.model, project_ids=[friend.project_id])
    adapter = f"/v1/adapters/{friend.http.get(f'/v1/models/{shared.model}').json()['adapter_id']}"
    reads = (adapter, f"{adapter}/content", f"{adapter}/files/adapter_config.json")

    for path in reads:
        assert friend.http.get(path).is_success, path
        refusal(other.http.get(path), 404, "adapter_id")
    assert friend.http.get("/v1/adapters").json()["data"] == []
    refusal(friend.http.delete(adapter), 404, "adapter_id")

    permissions.delete(permission.id, fine_tuned_model_checkpoint=shared.model)
    for path in reads:
        refusal(friend.http.get(path), 404, "adapter_id")
    assert shared.admin.http.get(adapter).is_success


def test_a_checkpoint_has_one_name(shared: Shared) -> None:
    """A permission belongs to a name. With two names, one could be withdrawn while the other still holds."""
    name = shared.checkpoints[1]
    assert name.endswith(":ckpt-step-1")
    for other in ("01", "١", "+1", "1 "):
        body = {"project_ids": [shared.admin.project_id]}
        refusal(shared.admin.http.post(url(name[:-1] + other), json=body), 404, "fine_tuned_model_checkpoint")


def test_the_answers_are_the_official_clients(api: Api, shared: Shared) -> None:
    friends = [api.tenant().project_id for _ in range(3)]
    checkpoint = shared.checkpoints[1]
    permissions = shared.admin.openai.fine_tuning.checkpoints.permissions
    for earlier in list(permissions.list(checkpoint)):
        permissions.delete(earlier.id, fine_tuned_model_checkpoint=checkpoint)
    made = shared.admin.http.post(url(checkpoint), json={"project_ids": friends}).json()
    assert [strictly(PermissionCreateResponse, entry).project_id for entry in made["data"]] == friends

    again = shared.admin.http.post(url(checkpoint), json={"project_ids": friends[:1]}).json()
    assert again["data"] == made["data"][:1]

    ids = [entry["id"] for entry in made["data"]]
    assert [entry.id for entry in permissions.list(checkpoint, limit=2)] == ids[::-1]
    assert [entry.id for entry in permissions.list(checkpoint, limit=2, order="ascending")] == ids
    assert [entry.id for entry in permissions.list(checkpoint, project_id=friends[1])] == ids[1:2]
    page = strictly(
        PermissionRetrieveResponse, shared.admin.http.get(url(checkpoint), params={"limit": 2}).json()
    )
    assert (page.first_id, page.last_id, page.has_more) == (ids[2], ids[1], True)
    refusal(shared.admin.http.get(url(checkpoint), params={"after": "x"}), 400, "after", "invalid_cursor")
    deleted = shared.admin.http.delete(f"{url(checkpoint)}/{ids[0]}").json()
    assert strictly(PermissionDeleteResponse, deleted).id == ids[0]


def test_sharing_takes_an_administrators_key_and_a_project_that_exists(api: Api, shared: Shared) -> None:
    member = api.tenant("team/research")
    for method in ("GET", "POST"):
        answer = member.http.request(method, url(shared.model), json={"project_ids": ["proj_x"]})
        refusal(answer, 403, None, "insufficient_permissions")
    refusal(
        shared.admin.http.post(url(shared.model), json={"project_ids": ["proj_x"]}),
        400,
        "project_ids",
        "project_not_found",
    )
    refusal(shared.admin.http.post(url(shared.model), json={"project_ids": []}), 400, "project_ids")


def test_the_checkpoints_of_a_job_that_was_cancelled_can_be_shared(api: Api) -> None:
    admin, friend = api.tenant(role=Role.ADMIN), api.tenant()
    job_id = admin.create_job()["id"]
    api.checkpoint(api.claim(job_id), 1)
    admin.openai.fine_tuning.jobs.cancel(job_id)
    (entry,) = admin.openai.fine_tuning.jobs.checkpoints.list(job_id)
    name = entry.fine_tuned_model_checkpoint

    admin.openai.fine_tuning.checkpoints.permissions.create(name, project_ids=[friend.project_id])

    assert friend.openai.models.retrieve(name).id == name
    assert admin.openai.models.retrieve(name).created == entry.created_at
