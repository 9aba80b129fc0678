"""Keys: all routes need one, except those of a written list, and no key opens another project."""

from datetime import UTC, datetime, timedelta

import httpx
import openai
import pytest

from core.access.keys import revoke_key
from core.roles import Role
from tests.fixtures.service.api import Api, Tenant, refusal, wait_for


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/", "/v1/files/healthz", "/v1/sign_in/", "/v1/sign_in/x", "/v1/unheard-of", "/%761/files"],
)
def test_a_path_beside_an_open_one_is_closed(api: Api, path: str) -> None:
    refusal(httpx.get(api.url + path), 401, None, "invalid_api_key")


@pytest.mark.parametrize(
    "path", ["/healthz/", "/docs/x", "//healthz", "/redoc", "/unheard-of", "/", "/V1/files"]
)
def test_outside_of_v1_nothing_is_written(api: Api, path: str) -> None:
    """A browser's GET request there returns the dashboard's page, which holds no data."""
    refusal(httpx.post(api.url + path), 404, None, "unknown_url")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer  x",
        "Bearer sk-proj-abc",
        "Basic dXNlcjpwYXNz",
        "Bearer tnr_" + "0" * 32 + "_" + "0" * 48 + "_00000000",
        "Bearer \xfc\xf6\xe4",
        "Bearer " + "x" * 10_000,
    ],
)
def test_a_wrong_key_is_refused(api: Api, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    answer = httpx.get(f"{api.url}/v1/files", headers=headers)
    error = refusal(answer, 401, None, "invalid_api_key")
    assert "API key" in error["message"]


def test_a_mistyped_and_a_revoked_key_are_refused(api: Api) -> None:
    tenant = api.tenant()
    assert tenant.http.get("/v1/files").status_code == 200
    mistyped = tenant.key[:-1] + ("0" if tenant.key[-1] != "0" else "1")
    refusal(httpx.get(f"{api.url}/v1/files", headers={"authorization": f"Bearer {mistyped}"}), 401)
    assert httpx.get(f"{api.url}/v1/files", headers={"authorization": f"bearer {tenant.key}"}).is_success

    with api.sessions.begin() as session:
        revoke_key(session, tenant.key.split("_")[1])

    assert "revoked" in refusal(tenant.http.get("/v1/files"), 401)["message"]


def test_a_key_is_trusted_for_a_moment_and_no_longer(api: Api) -> None:
    with api.beside(key_trust_seconds=3.0) as trusting:
        tenant = trusting.tenant()
        assert tenant.http.get("/v1/files").is_success
        with api.sessions.begin() as session:
            revoke_key(session, tenant.key.split("_")[1])
        assert tenant.http.get("/v1/files").is_success
        wait_for(lambda: tenant.http.get("/v1/files").status_code == 401)


def test_an_expired_key_is_refused_and_one_that_expires_later_is_not(api: Api) -> None:
    now = datetime.now(UTC)
    live = api.tenant(expires_at=now + timedelta(hours=1))
    expired = api.tenant(expires_at=now - timedelta(seconds=1))
    assert live.http.get("/v1/files").is_success
    assert "expired" in refusal(expired.http.get("/v1/files"), 401, None, "invalid_api_key")["message"]


def test_a_read_only_key_reads_and_the_official_client_names_what_it_may_not(api: Api, alice: Tenant) -> None:
    file_id = alice.upload()
    reader = api.tenant("alice", Role.READ_ONLY).openai
    assert reader.files.retrieve(file_id).id == file_id
    with pytest.raises(openai.PermissionDeniedError) as caught:
        reader.files.delete(file_id)
    assert caught.value.code == "insufficient_permissions"
    assert "'read-only'" in caught.value.message
    with pytest.raises(openai.PermissionDeniedError):
        reader.files.create(file=("a.jsonl", b"x" * 8 * 1024**2), purpose="fine-tune")
    assert alice.openai.files.retrieve(file_id).id == file_id


def test_the_key_is_checked_before_the_body(api: Api) -> None:
    """Without a key, a client cannot learn the form of a body, or make the server store bytes."""
    for body in (b"no JSON", b"x" * 3 * 1024**2):
        answer = httpx.post(
            f"{api.url}/v1/fine_tuning/jobs", content=body, headers={"content-type": "application/json"}
        )
        refusal(answer, 401, None, "invalid_api_key")


def test_the_official_client_reads_the_refusal_of_an_upload_without_a_key(api: Api) -> None:
    client = openai.OpenAI(base_url=f"{api.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        client.files.create(file=("a.jsonl", b"x" * 8 * 1024**2), purpose="fine-tune")


def test_a_cursor_of_another_job_is_unknown(api: Api, alice: Tenant) -> None:
    one, other = (alice.create_job()["id"] for _ in range(2))
    lease = api.claim(one)
    api.checkpoint(lease, 3)
    url = "/v1/fine_tuning/jobs"
    for part in ("events", "checkpoints"):
        foreign = alice.http.get(f"{url}/{one}/{part}").json()["last_id"]
        refusal(alice.http.get(f"{url}/{other}/{part}", params={"after": foreign}), 400, "after")
