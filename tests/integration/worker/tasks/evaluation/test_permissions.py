"""What a run may still read: the models of its project, and what others share with it at that moment."""

from pathlib import Path

from sqlalchemy import select

from core.roles import Role
from core.serving.served_model import StoredAdapter
from core.tables import Adapter, Checkpoint
from tests.fixtures.service.api import Api, Tenant
from worker.tasks.evaluation.permissions import may_read


def test_a_permission_opens_what_it_names_as_long_as_it_lasts(api: Api, adapter_folder: Path) -> None:
    owner, guest = api.tenant(role=Role.ADMIN), api.tenant()
    lease = api.claim(owner.create_job()["id"])
    api.checkpoint(lease, 2)
    adapter_id = api.finish(lease, adapter_folder)
    model = owner.job(lease.job_id)["fine_tuned_model"]
    of_job = select(Checkpoint.object_prefix).where(Checkpoint.job_id == lease.job_id)
    with api.sessions() as session:
        prefixes = session.get_one(Adapter, adapter_id).object_prefix, session.scalars(of_job).one()
    stored = dict(zip((model, f"{model}:ckpt-step-2"), prefixes, strict=True))

    def readable(tenant: Tenant) -> set[str]:
        with api.sessions() as session:
            project = tenant.project_id
            found = {name: StoredAdapter.of(prefix, []) for name, prefix in stored.items()}
            return {name for name, adapter in found.items() if may_read(session, project, adapter)}

    assert (readable(owner), readable(guest)) == (set(stored), set())
    for name in stored:
        permissions = f"/v1/fine_tuning/checkpoints/{name}/permissions"
        (shared,) = owner.http.post(permissions, json={"project_ids": [guest.project_id]}).json()["data"]
        assert readable(guest) == {name}
        assert owner.http.delete(f"{permissions}/{shared['id']}").is_success
        assert readable(guest) == set()
    assert owner.http.delete(f"/v1/models/{model}").is_success
    assert readable(owner) == set(stored) - {model}
