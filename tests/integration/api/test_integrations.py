"""/v1/integrations: the experiment trackers that a job may report to."""

from core.roles import Role
from tests.fixtures.service.api import Api, Tenant

JOBS = "/v1/fine_tuning/jobs"


def test_what_is_listed_is_what_a_job_may_name(api: Api, alice: Tenant) -> None:
    admin = api.tenant(alice.project, Role.ADMIN)
    assert admin.http.post("/v1/secrets", json={"name": "WANDB_API_KEY", "value": "k" * 40}).is_success
    listed = alice.http.get("/v1/integrations").json()
    offered = {each["id"]: each for each in listed["data"]}
    assert list(offered) == api.settings.offered_integrations
    assert listed["has_more"] is False
    settings = {"wandb": {"project": "p"}, "mlflow": {"experiment": "e"}}
    for name in offered:
        asked = {"type": name, **({name: settings[name]} if name in settings else {})}
        assert alice.create_job(integrations=[asked])["integrations"][0]["type"] == name


def test_mlflow_s_servers_are_told_and_nobody_else_s(api: Api, alice: Tenant) -> None:
    listed = alice.http.get("/v1/integrations").json()["data"]
    assert {each["id"]: each["tracking_uris"] for each in listed} == {
        name: api.settings.offered_mlflow_uris if name == "mlflow" else []
        for name in api.settings.offered_integrations
    }
