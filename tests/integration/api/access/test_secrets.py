"""Stored secrets: they go in, never come out, and depend on the key that encrypts them."""

import json
import logging
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select, text

from cli.commands.reseal import reseal_all
from core.errors import ConfigurationError
from core.roles import Role
from core.secrets.vault import UnreadableSecret, Vault
from core.tables import AuditLog, Secret, WebhookEndpoint
from tests.fixtures.service.api import Api, Tenant, refusal
from tests.fixtures.service.shell import Shell

VALUE = "a-value-that-must-stay-hidden"


@pytest.fixture
def admin(api: Api) -> Tenant:
    return api.tenant(role=Role.ADMIN)


def put(tenant: Tenant, value: str = VALUE, name: str = "WANDB_API_KEY") -> httpx.Response:
    return tenant.http.post("/v1/secrets", json={"name": name, "value": value})


def stored(api: Api, admin: Tenant, name: str) -> str:
    with api.sessions() as session:
        return session.scalars(
            select(Secret.sealed).where(Secret.project_id == admin.project_id, Secret.name == name)
        ).one()


def test_a_secret_is_set_listed_replaced_and_deleted_and_never_shown(
    api: Api, admin: Tenant, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [put(admin)]
    assert answers[0].status_code == 200
    answers.append(admin.http.get("/v1/secrets"))
    assert [secret["name"] for secret in answers[1].json()["data"]] == ["WANDB_API_KEY"]
    sealed = stored(api, admin, "WANDB_API_KEY")
    assert Vault.of(api.settings.secret_keys).open(sealed) == VALUE
    answers.append(put(admin, "another"))
    assert Vault.of(api.settings.secret_keys).open(stored(api, admin, "WANDB_API_KEY")) == "another"
    answers.append(admin.http.get("/v1/secrets/WANDB_API_KEY"))
    refusal(answers[-1], 405)
    answers.append(admin.http.delete("/v1/secrets/WANDB_API_KEY"))
    refusal(admin.http.delete("/v1/secrets/WANDB_API_KEY"), 404, "secret_name", "secret_not_found")
    assert admin.http.get("/v1/secrets").json()["data"] == []
    with api.sessions() as session:
        answers_and_rows = [answer.text for answer in answers] + [
            sealed,
            str(session.execute(text("SELECT * FROM secrets")).all()),
        ]
    for told in (*answers_and_rows, *capfd.readouterr(), caplog.text):
        assert VALUE not in told


@pytest.mark.parametrize(
    ("body", "code"),
    [({"value": VALUE * 1000}, "invalid_value"), ({"value": [VALUE]}, "invalid_value"), ({}, None)],
)
def test_the_refusal_of_a_value_does_not_repeat_it(
    admin: Tenant, body: dict[str, object], code: str | None
) -> None:
    answer = admin.http.post("/v1/secrets", json={"name": "WANDB_API_KEY", **body})
    refusal(answer, 400, "value", code)
    assert VALUE not in answer.text


@pytest.mark.parametrize("name", ["wandb", "1KEY", "A-B", "A" * 65, "PATH X"])
def test_a_name_is_that_of_a_variable(admin: Tenant, name: str) -> None:
    refusal(put(admin, name=name), 400, "name", "invalid_value")


def test_a_secret_is_bound_to_hosts_until_a_request_says_otherwise(api: Api, admin: Tenant) -> None:
    def bound(**body: object) -> object:
        answer = admin.http.post("/v1/secrets", json={"name": "A_KEY", "value": VALUE, **body})
        assert answer.status_code == 200, answer.text
        (listed,) = admin.http.get("/v1/secrets").json()["data"]
        assert answer.json() == listed
        return listed["hosts"]

    hosts = ["api.wandb.ai", "*.example.com", "10.0.0.1"]
    assert bound() is None
    assert bound(hosts=["API.wandb.ai", *hosts[1:]]) == hosts
    assert bound() == hosts, "a new value alone unbinds nothing"
    with api.sessions() as session:
        of_project = AuditLog.project_id == admin.project_id, AuditLog.action == "secret.set"
        details = session.scalars(select(AuditLog.details).where(*of_project).order_by(AuditLog.id)).all()
    assert [each and each["hosts"] for each in details] == [None, hosts, hosts]
    assert bound(hosts=None) is None


@pytest.mark.parametrize(
    "host", ["", "*", "https://example.com", "example.com:443", "example.com/path", "a.*.com", "exämple.com"]
)
def test_what_a_secret_is_bound_to_is_a_host(admin: Tenant, host: str) -> None:
    body = {"name": "A_KEY", "value": VALUE, "hosts": ["example.com", host]}
    refusal(admin.http.post("/v1/secrets", json=body), 400, "hosts.1", "invalid_value")


def test_a_server_without_a_key_keeps_no_secret_and_says_so(api: Api, admin: Tenant) -> None:
    with api.beside(secret_keys=None) as other:
        tenant = other.tenant(role=Role.ADMIN)
        answer = put(tenant)
        assert "TUNERY_SECRET_KEYS" in refusal(answer, 400, None, "secrets_not_configured")["message"]
        assert tenant.http.get("/v1/secrets").json()["data"] == []


def test_a_new_key_takes_over_once_all_is_sealed_anew(api: Api, admin: Tenant) -> None:
    assert api.settings.secret_keys is not None
    old, new = api.settings.secret_keys.get_secret_value(), Vault.new_key()
    put(admin)
    with pytest.raises(UnreadableSecret):
        Vault(new).open(stored(api, admin, "WANDB_API_KEY"))
    with api.sessions() as session:
        reseal_all(session, Vault(f"{new},{old}"))
        session.flush()
        sealed = session.get_one(Secret, (admin.project_id, "WANDB_API_KEY")).sealed
        session.rollback()
    assert Vault(new).open(sealed) == VALUE
    with pytest.raises(UnreadableSecret):
        Vault(old).open(sealed)


def test_a_key_that_is_none_is_a_wrong_setting() -> None:
    for keys in ("secret", "c2hvcnQ="):
        with pytest.raises(ConfigurationError, match="TUNERY_SECRET_KEYS"):
            Vault.of(SecretStr(keys))


@pytest.mark.exhaustive
def test_the_command_line_reads_a_value_from_a_pipe(api: Api, admin: Tenant, tmp_path: Path) -> None:
    shell = Shell(tmp_path, {"TUNERY_BASE_URL": api.url, "TUNERY_API_KEY": admin.key})
    bound = ("--host", "api.wandb.ai", "--host", "*.example.com")
    ended = shell.run("secrets", "set", "WANDB_API_KEY", *bound, input=f"{VALUE}\n")
    assert ended.returncode == 0, ended.stderr
    assert VALUE not in ended.stdout + ended.stderr
    assert Vault.of(api.settings.secret_keys).open(stored(api, admin, "WANDB_API_KEY")) == VALUE
    (listed,) = shell.json("secrets", "list")
    assert (listed["name"], listed["hosts"]) == ("WANDB_API_KEY", ["api.wandb.ai", "*.example.com"])
    assert shell.json("secrets", "delete", "WANDB_API_KEY")["deleted"] is True


def test_an_operator_makes_a_key_and_seals_with_it(
    api: Api, admin: Tenant, database_url: str, tmp_path: Path
) -> None:
    assert api.settings.secret_keys is not None
    old = api.settings.secret_keys.get_secret_value()
    shell = Shell(tmp_path, {"TUNERY_DATABASE_URL": database_url})
    new = shell.run("secrets", "keygen").stdout.strip()
    put(admin)
    ended = shell.run("secrets", "reseal", TUNERY_SECRET_KEYS=f"{new},{old}")
    assert ended.returncode == 0, ended.stderr
    assert Vault(new).open(stored(api, admin, "WANDB_API_KEY")) == VALUE
    back = shell.run("secrets", "reseal", TUNERY_SECRET_KEYS=f"{old},{new}")
    assert back.returncode == 0, back.stderr


def test_what_no_key_opens_is_named_and_keeps_nothing_else_from_being_sealed(
    api: Api, admin: Tenant, database_url: str, tmp_path: Path
) -> None:
    assert api.settings.secret_keys is not None
    old, new, lost = api.settings.secret_keys.get_secret_value(), Vault.new_key(), Vault.new_key()
    shell = Shell(tmp_path, {"TUNERY_DATABASE_URL": database_url})
    put(admin), put(admin, name="LOST")
    endpoint = admin.http.post(
        "/v1/webhook_endpoints",
        json={"name": "a", "url": "https://example.com", "event_types": ["fine_tuning.job.failed"]},
    ).json()["id"]
    with api.sessions.begin() as session:
        session.get_one(Secret, (admin.project_id, "LOST")).sealed = Vault(lost).seal(VALUE)
        session.get_one(WebhookEndpoint, endpoint).former_sealed_secret = Vault(lost).seal(VALUE)
    ended = shell.run("secrets", "reseal", "--json", TUNERY_SECRET_KEYS=f"{new},{old}")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["unreadable"] == [
        f"secret LOST of project {admin.project}",
        f"webhook endpoint {endpoint} of project {admin.project}",
    ]
    assert "LOST" in ended.stderr
    assert endpoint in ended.stderr
    assert Vault(new).open(stored(api, admin, "WANDB_API_KEY")) == VALUE
    assert Vault(lost).open(stored(api, admin, "LOST")) == VALUE
    back = shell.run("secrets", "reseal", TUNERY_SECRET_KEYS=f"{old},{new},{lost}")
    assert back.returncode == 0, back.stderr
    assert Vault(old).open(stored(api, admin, "LOST")) == VALUE
