"""Keys and tenants: no route without a key but the written list, and nothing of another project anywhere."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import openai
import pytest
from fastapi.routing import iter_route_contexts

from api.auth import PUBLIC_PATHS
from core.keys import revoke_key
from core.roles import Role
from tests.fixtures.api import Api, Tenant, refusal

OPEN = {"/healthz", "/readyz", "/docs", "/openapi.json"}


def routes(api: Api) -> list[tuple[str, str]]:
    """Every method and path that the app answers to, whatever kind of route it is."""
    found = []
    for context in iter_route_contexts(api.app.routes):
        assert context.path is not None, "a route without a path: this test must learn about its kind"
        found += [(method, context.path) for method in sorted(context.methods or {"GET"})]
    return found


def filled(path: str, **values: str) -> str:
    for name in ("file_id", "fine_tuning_job_id", "adapter_id", "name", "model:path"):
        path = path.replace("{" + name + "}", values.get(name.partition(":")[0], "x"))
    assert "{" not in path, f"{path}: this test must learn about a new parameter"
    return path


def test_the_written_list_of_open_paths_is_the_whole_list() -> None:
    assert PUBLIC_PATHS == OPEN


def test_every_route_but_the_open_ones_wants_a_key(api: Api) -> None:
    closed = [(method, path) for method, path in routes(api) if path not in OPEN]
    assert len(closed) >= 17
    for method, path in closed:
        answer = httpx.request(method, api.url + filled(path))
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == "Bearer"
        if method != "HEAD":
            refusal(answer, 401, None, "invalid_api_key")


def test_the_open_routes_need_none(api: Api) -> None:
    for path in OPEN:
        assert httpx.get(api.url + path).status_code == 200, path


@pytest.mark.parametrize(
    "path",
    ["/healthz/", "/healthz/x", "/v1/files/healthz", "/docs/x", "//healthz", "/redoc", "/unheard-of", "/"],
)
def test_a_path_beside_an_open_one_is_closed(api: Api, path: str) -> None:
    refusal(httpx.get(api.url + path), 401, None, "invalid_api_key")


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
    """Nobody without a key learns what a body should look like, or makes the server store bytes."""
    for body in (b"no JSON", b"x" * 3 * 1024**2):
        answer = httpx.post(
            f"{api.url}/v1/fine_tuning/jobs", content=body, headers={"content-type": "application/json"}
        )
        refusal(answer, 401, None, "invalid_api_key")


def test_the_official_client_reads_the_refusal_of_an_upload_without_a_key(api: Api) -> None:
    client = openai.OpenAI(base_url=f"{api.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        client.files.create(file=("a.jsonl", b"x" * 8 * 1024**2), purpose="fine-tune")


class Owned(NamedTuple):
    """What a project owns, one of each kind."""

    file_id: str
    fine_tuning_job_id: str
    adapter_id: str
    model: str
    name: str = "adapter_config.json"


@pytest.fixture(scope="module")
def owned(api: Api, alice: Tenant, tmp_path_factory: pytest.TempPathFactory) -> Owned:
    folder: Path = tmp_path_factory.mktemp("adapter")
    (folder / "adapter_config.json").write_text("{}")
    file_id = alice.upload()
    job_id = alice.create_job(training_file=file_id, metadata={"secret": "alice"})["id"]
    lease = api.claim(job_id)
    api.checkpoint(lease, 3)
    adapter_id = api.finish(lease, folder)
    return Owned(file_id, job_id, adapter_id, alice.job(job_id)["fine_tuned_model"])


def test_what_is_foreign_looks_like_what_does_not_exist(
    api: Api, alice: Tenant, bob: Tenant, owned: Owned
) -> None:
    """On every route with an id: the same answer, but for the id in it, and never a success."""
    with_ids = [(method, path) for method, path in routes(api) if "{" in path]
    assert len(with_ids) >= 11
    missing = {
        "file_id": "file-" + "0" * 32,
        "fine_tuning_job_id": "ftjob-" + "0" * 32,
        "adapter_id": "adapter-" + "0" * 32,
        "model": owned.model + "x",
    }
    for method, path in with_ids:
        foreign = bob.http.request(method, filled(path, **owned._asdict()))
        unknown = bob.http.request(method, filled(path, **{**owned._asdict(), **missing}))
        assert foreign.status_code == unknown.status_code == 404, (method, path, foreign.text)
        assert without_ids(foreign, owned._asdict()) == without_ids(unknown, missing), (method, path)
    assert alice.job(owned.fine_tuning_job_id)["status"] == "succeeded"
    assert alice.http.get(f"/v1/files/{owned.file_id}/content").is_success


def without_ids(answer: httpx.Response, ids: dict[str, str]) -> Any:
    text = answer.text
    for value in ids.values():
        text = text.replace(value, "<id>")
    return text


def test_every_route_with_an_id_works_for_its_owner(api: Api, alice: Tenant, owned: Owned) -> None:
    """So that the 404 of a foreigner means what it seems to mean."""
    for method, path in routes(api):
        if "{" in path and method == "GET":
            answer = alice.http.request(method, filled(path, **owned._asdict()))
            assert answer.status_code == 200, (method, path, answer.text)


def test_lists_hold_nothing_foreign(api: Api, bob: Tenant, owned: Owned) -> None:
    stranger = api.tenant()
    for path in (
        "/v1/files",
        "/v1/fine_tuning/jobs",
        "/v1/adapters",
        "/v1/fine_tuning/jobs?metadata[secret]=alice",
    ):
        for tenant in (bob, stranger):
            assert tenant.http.get(path).json()["data"] == [], path
    for path, foreign in (
        ("/v1/files", owned.file_id),
        ("/v1/fine_tuning/jobs", owned.fine_tuning_job_id),
        ("/v1/adapters", owned.adapter_id),
    ):
        refusal(bob.http.get(path, params={"after": foreign}), 400, "after", "invalid_cursor")
    listed = {model["id"] for model in bob.http.get("/v1/models").json()["data"]}
    assert owned.model not in listed


def test_a_cursor_of_another_job_is_unknown(api: Api, alice: Tenant, owned: Owned) -> None:
    other = alice.create_job()["id"]
    url = "/v1/fine_tuning/jobs"
    for part in ("events", "checkpoints"):
        foreign = alice.http.get(f"{url}/{owned.fine_tuning_job_id}/{part}").json()["last_id"]
        refusal(alice.http.get(f"{url}/{other}/{part}", params={"after": foreign}), 400, "after")
