"""Exports that real processes push elsewhere: to a second bucket, and to a stand-in for the hub."""

import io
import zipfile
from pathlib import Path
from typing import Any

import boto3
import pytest
from sqlalchemy import select

from cli.embedded import EmbeddedServers
from core.tables import AuditLog, Task
from tests.fixtures.faults.crashes import left, plan
from tests.fixtures.outside.hub import TOKEN, Hub
from tests.fixtures.outside.receiver import Receiver
from tests.fixtures.processes.tasks import WarmTasks
from tests.fixtures.service.api import Api, Tenant, refusal
from tests.fixtures.service.shell import Shell
from tests.fixtures.work.exporting import ended, started

BUCKET = "somebody-elses-models"
HUB = {"type": "hub", "repository": "org/name", "secret": "HUB_TOKEN"}
AWS_KEY = "AKIAKNOWN:a-secret-key-to-hide:a-session-token-to-hide"


def set_secret(tenant: Tenant, name: str, value: str, *hosts: str) -> None:
    body = {"name": name, "value": value, "hosts": hosts or None}
    assert tenant.http.post("/v1/secrets", json=body).is_success


def s3_at(url: str, **options: Any) -> dict[str, Any]:
    return {"type": "s3", "bucket": BUCKET, "endpoint_url": url, "secret": "STORE_KEY", **options}


@pytest.fixture
def bucket(servers: EmbeddedServers, tenant: Tenant) -> Any:
    """Make a second bucket in the store, with its key as the tenant's secret."""
    keys = servers.environment
    client = boto3.Session().client(
        "s3",
        endpoint_url=servers.urls["s3_endpoint_url"],
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    key = f"{keys['AWS_ACCESS_KEY_ID']}:{keys['AWS_SECRET_ACCESS_KEY']}"
    set_secret(tenant, "STORE_KEY", key, "127.0.0.1")
    yield client
    for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    client.delete_bucket(Bucket=BUCKET)


def downloaded(tenant: Tenant, made: dict[str, Any]) -> dict[str, bytes]:
    """Return the files of an export by their names."""
    path = f"/v1/adapters/{made['adapter_id']}/exports/{made['id']}/content"
    archive = zipfile.ZipFile(io.BytesIO(tenant.http.get(path).content))
    return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.exhaustive
def test_a_process_that_dies_before_it_pushes_leaves_its_files_to_the_next_one(
    api: Api,
    tenant: Tenant,
    tasks: WarmTasks,
    adapter: str,
    bucket: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in plan(tmp_path / "plan", "place task.kept 1").items():
        monkeypatch.setenv(name, value)
    destination = s3_at(bucket.meta.endpoint_url, prefix="models/support/")
    made = ended(tenant, adapter, started(tenant, adapter, destination=destination))
    assert (made["status"], made["error"]) == ("succeeded", None)
    assert left(tmp_path / "plan") == []
    with api.sessions() as session:
        task = session.get_one(Task, made["id"])
    assert (task.fence, task.losses) == (2, 1)
    assert task.object_prefix is not None
    assert task.object_prefix.startswith(f"exports/{task.id}/1-")  # those of the first process

    files = downloaded(tenant, made)
    listed = [entry["Key"] for entry in bucket.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert sorted(listed) == sorted(f"models/support/{name}" for name in files)
    for name, content in files.items():
        stored = bucket.get_object(Bucket=BUCKET, Key=f"models/support/{name}")["Body"].read()
        assert stored == content
    assert made["report"]["push"] == {
        "type": "s3",
        "url": f"s3://{BUCKET}/models/support/",
        "objects": len(files),
    }
    assert BUCKET.encode() not in files["manifest.json"]  # it goes wherever the files go


@pytest.mark.exhaustive
def test_a_process_that_dies_after_its_commit_leaves_one_commit(
    tenant: Tenant,
    tasks: WarmTasks,
    adapter: str,
    hub: Hub,
    key_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_secret(tenant, "HUB_TOKEN", TOKEN)
    monkeypatch.setenv("TUNERY_SIGNING_KEY_FILE", str(key_file))  # a second signature would be another one
    monkeypatch.setenv("HF_TOKEN", "hf_the-workers-own")
    for name, value in plan(tmp_path / "plan", "place task.delivered 1").items():
        monkeypatch.setenv(name, value)
    made = ended(tenant, adapter, started(tenant, adapter, destination=HUB))
    assert (made["status"], made["error"]) == ("succeeded", None)
    assert left(tmp_path / "plan") == []
    repository = hub.repositories["org/name"]
    first, pushed = repository.branches["main"]
    assert (repository.private, first, pushed) == (True, {}, downloaded(tenant, made))
    commit = f"{2:040x}"
    url = f"{hub.url}/org/name/commit/{commit}"
    assert made["report"]["push"] == {"type": "hub", "url": url, "commit": commit, "objects": len(pushed)}
    assert hub.tokens == {TOKEN}


def test_a_push_that_is_refused_fails_and_keeps_the_files(
    api: Api, tenant: Tenant, tasks: WarmTasks, adapter: str, hub: Hub, tmp_path: Path
) -> None:
    set_secret(tenant, "HUB_TOKEN", "hf_wrong")
    shell = Shell(tmp_path, {"TUNERY_BASE_URL": api.url, "TUNERY_API_KEY": tenant.key})
    failed = shell.run(
        *("adapters", "export", adapter, "out", "--format", "lora"),
        *("--push", "hub:org/name", "--secret", "HUB_TOKEN"),
    )
    assert failed.returncode == 4, failed.stderr
    assert "does not know the token" in failed.stderr
    (made,) = tenant.http.get(f"/v1/adapters/{adapter}/exports").json()["data"]
    assert (made["status"], made["error"]["code"], made["error"]["param"]) == (
        "failed",
        "push_refused",
        "destination.secret",
    )
    assert made["report"]["rank"] == 4
    files = downloaded(tenant, made)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files} == files
    assert made["expires_at"] > made["finished_at"] + 29 * 24 * 3600  # as long as those of other exports


def test_a_pushed_export_shows_no_secret_and_its_manifest_last(
    tenant: Tenant,
    tasks: WarmTasks,
    adapter: str,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TUNERY_LOG_LEVEL", "debug")
    set_secret(tenant, "STORE_KEY", AWS_KEY, "127.0.0.1")
    made = ended(tenant, adapter, started(tenant, adapter, destination=s3_at(receiver.url)))
    assert made["status"] == "succeeded", made["error"]
    paths = [request.path for request in receiver.requests]
    assert sorted(paths) == sorted(f"/{BUCKET}/{file['name']}" for file in made["files"])
    assert paths[-1] == f"/{BUCKET}/manifest.json"
    assert all("AKIAKNOWN" in request.headers["authorization"] for request in receiver.requests)
    shown = [*capfd.readouterr(), str(made), *downloaded(tenant, made).values()]
    for hidden in AWS_KEY.split(":")[1:]:
        assert not any(hidden in str(text) for text in shown)


def test_a_destination_that_cannot_work_is_refused_at_once(api: Api, tenant: Tenant, adapter: str) -> None:
    at = f"/v1/adapters/{adapter}/exports"
    set_secret(tenant, "HUB_TOKEN", TOKEN)
    set_secret(tenant, "STORE_KEY", AWS_KEY, "10.0.0.1")

    def refused(destination: dict[str, Any], field: str, code: str | None = None) -> None:
        answer = tenant.http.post(at, json={"format": "lora", "destination": destination})
        refusal(answer, 400, f"destination.{field}", code=code)

    refused(HUB | {"secret": "OTHER"}, "secret", "secret_not_found")
    refused(HUB | {"secret": "not a name"}, "secret")
    for name in ("name", "org/-name", "org/na--me", "org/name.git", "a/b/c", "https://hub/org/name"):
        refused(HUB | {"repository": name}, "repository")
    refused(HUB | {"endpoint_url": "https://hub.example.com"}, "endpoint_url")
    for url in (
        "https://10.0.0.1",
        "http://s3.example.com",
        "file:///etc",
        "https://user:key@s3.example.com",
    ):
        refused(s3_at(url), "endpoint_url", "invalid_url")
    for prefix in ("/top", "a//b", "../up", "a b"):
        refused(s3_at(api.url, prefix=prefix), "prefix")
    refused({"type": "ftp"}, "type")


def test_a_secret_goes_only_to_the_hosts_that_an_administrator_allows(
    api: Api, tenant: Tenant, adapter: str, hub: Hub
) -> None:
    at = f"/v1/adapters/{adapter}/exports"

    def taken(destination: dict[str, Any], *hosts: str) -> bool:
        set_secret(tenant, destination["secret"], AWS_KEY, *hosts)
        answer = tenant.http.post(at, json={"format": "lora", "destination": destination})
        if answer.is_success:
            tenant.http.post(f"{at}/{answer.json()['id']}/cancel")
            return True
        said = refusal(answer, 400, "destination.secret", code="secret_not_for_host")["message"]
        assert "tunery secrets set" in said
        return False

    elsewhere, aws = s3_at("https://s3.example.com"), s3_at("https://unused.example")
    elsewhere = s3_at("https://s3.example.com")
    aws = {name: value for name, value in elsewhere.items() if name != "endpoint_url"}
    assert not taken(elsewhere), "a member could name a host of their own"
    assert not taken(elsewhere, "example.com")
    assert not taken(elsewhere, "s3.example.com.evil.test", "*.s3.example.com")
    assert taken(elsewhere, "s3.example.com")
    assert taken(elsewhere, "other.test", "*.example.com")
    assert taken(aws)
    assert not taken(aws, "s3.example.com")
    assert taken(aws, "s3.amazonaws.com")
    assert taken(HUB)
    assert not taken(HUB, "s3.amazonaws.com")
    assert taken(HUB, "127.0.0.1")


def test_a_secret_that_is_bound_elsewhere_meanwhile_is_not_sent(
    tenant: Tenant, tasks: WarmTasks, adapter: str, receiver: Receiver
) -> None:
    set_secret(tenant, "STORE_KEY", AWS_KEY, "127.0.0.1")
    tasks.stop()
    export_id = started(tenant, adapter, destination=s3_at(receiver.url))
    set_secret(tenant, "STORE_KEY", AWS_KEY, "s3.example.com")
    with WarmTasks(tenant.api.sessions, ["export"], tasks.variables):
        made = ended(tenant, adapter, export_id)
    error = made["error"]
    assert (error["code"], error["param"]) == ("secret_not_for_host", "destination.secret")
    assert receiver.requests == []


def test_the_audit_log_says_where_an_export_goes(api: Api, tenant: Tenant, adapter: str) -> None:
    set_secret(tenant, "HUB_TOKEN", TOKEN)
    made = started(tenant, adapter, destination=HUB)
    tenant.http.post(f"/v1/adapters/{adapter}/exports/{made}/cancel")
    with api.sessions() as session:
        of_export = AuditLog.resource_id == made, AuditLog.action == "export.created"
        details = session.scalars(select(AuditLog.details).where(*of_export)).one()
    goes_to = {"type": "hub", "repository": "org/name", "private": True}
    assert details == {"adapter": adapter, "destination": goes_to}


def test_a_shared_adapter_brings_no_secret_of_its_project(api: Api, tenant: Tenant, adapter: str) -> None:
    set_secret(tenant, "HUB_TOKEN", TOKEN)
    stranger = api.tenant()
    model = tenant.http.get(f"/v1/adapters/{adapter}").json()["model"]
    share = f"/v1/fine_tuning/checkpoints/{model}/permissions"
    assert tenant.http.post(share, json={"project_ids": [stranger.project_id]}).is_success
    body = {"format": "lora", "destination": HUB}
    refusal(stranger.http.post(f"/v1/adapters/{adapter}/exports", json=body), 400, "destination.secret")
