"""Which caller may use which route: every route and method, with every kind of key.

A caller that may not use a route gets the right status, and the request changes nothing. A new route needs a
line in ACCESS.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import text

from api.admission.auth import PUBLIC_PATHS, SIGN_ON_PATHS
from core.access.keys import revoke_key
from core.roles import Role
from core.tables import Base
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal
from tests.fixtures.work.completions import store
from tests.fixtures.work.evals_api import CHECK, EVALS, ROWS, finish_run, judged, make_eval, make_run
from tests.fixtures.work.exporting import finish_export

AT_ONCE = 16  # requests; all keys that wait are looked up at once, and the next ones a moment later

PUBLIC, READER, MEMBER, ADMIN, OPERATOR = "public", "reader", "member", "admin", "operator"

JOBS = "/v1/fine_tuning/jobs"
ALIASES = "/v1/aliases"
BASE_MODELS = "/v1/organization/base_models"
COMPOSITIONS = "/v1/adapters/compositions"
COMPLETIONS = "/v1/chat/completions"
COMPLETION = COMPLETIONS + "/{completion_id}"
EVAL = EVALS + "/{eval_id}"
GRADERS = "/v1/fine_tuning/alpha/graders"
PERMISSIONS = "/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint:path}/permissions"
PROJECTS = "/v1/organization/projects"
SWEEPS = "/v1/fine_tuning/sweeps"
RUNS = EVAL + "/runs"
UPLOADS = "/v1/uploads"
WEBHOOKS = "/v1/webhook_endpoints"
WEBHOOK = WEBHOOKS + "/{webhook_endpoint_id}"

# The caller with the fewest rights that may use the route. The line above has the callers in order of rights.
ACCESS = {
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/openapi.json"): PUBLIC,
    ("HEAD", "/openapi.json"): PUBLIC,
    ("GET", "/v1/sign_in"): PUBLIC,
    ("POST", "/v1/sign_in"): PUBLIC,
    ("POST", "/v1/sign_in/link"): PUBLIC,
    ("GET", "/v1/sign_on"): PUBLIC,
    ("GET", "/v1/sign_on/callback"): PUBLIC,
    ("GET", "/v1/sign_on/end"): PUBLIC,
    ("GET", "/v1/session"): READER,
    ("DELETE", "/v1/session"): READER,
    ("POST", "/v1/session/links"): MEMBER,
    ("GET", "/v1/files"): READER,
    ("POST", "/v1/files"): MEMBER,
    ("POST", "/v1/files/from_completions"): MEMBER,
    ("GET", "/v1/files/{file_id}"): READER,
    ("DELETE", "/v1/files/{file_id}"): MEMBER,
    ("GET", "/v1/files/{file_id}/content"): READER,
    ("POST", "/v1/files/{file_id}/preview"): MEMBER,
    ("POST", "/v1/files/{file_id}/check"): MEMBER,
    ("GET", "/v1/files/{file_id}/checks"): READER,
    ("GET", "/v1/files/{file_id}/checks/{check_id}"): READER,
    ("POST", "/v1/files/{file_id}/checks/{check_id}/cancel"): MEMBER,
    ("POST", "/v1/files/{file_id}/convert"): MEMBER,
    ("GET", "/v1/files/{file_id}/conversions"): READER,
    ("GET", "/v1/files/{file_id}/conversions/{conversion_id}"): READER,
    ("POST", "/v1/files/{file_id}/conversions/{conversion_id}/cancel"): MEMBER,
    ("POST", UPLOADS): MEMBER,
    ("POST", UPLOADS + "/{upload_id}/parts"): MEMBER,
    ("POST", UPLOADS + "/{upload_id}/complete"): MEMBER,
    ("POST", UPLOADS + "/{upload_id}/cancel"): MEMBER,
    ("GET", JOBS): READER,
    ("POST", JOBS): MEMBER,
    ("GET", JOBS + "/{fine_tuning_job_id}"): READER,
    ("DELETE", JOBS + "/{fine_tuning_job_id}"): MEMBER,
    ("POST", JOBS + "/{fine_tuning_job_id}/cancel"): MEMBER,
    ("POST", JOBS + "/{fine_tuning_job_id}/pause"): MEMBER,
    ("POST", JOBS + "/{fine_tuning_job_id}/resume"): MEMBER,
    ("GET", JOBS + "/{fine_tuning_job_id}/events"): READER,
    ("GET", JOBS + "/{fine_tuning_job_id}/checkpoints"): READER,
    ("GET", JOBS + "/{fine_tuning_job_id}/checkpoints/{checkpoint_id}/content"): READER,
    ("GET", JOBS + "/{fine_tuning_job_id}/metrics"): READER,
    ("GET", JOBS + "/{fine_tuning_job_id}/rows"): READER,
    ("POST", "/v1/fine_tuning/estimates"): MEMBER,
    ("GET", JOBS + "/{fine_tuning_job_id}/candidates"): READER,
    ("GET", JOBS + "/{fine_tuning_job_id}/candidates/curves"): READER,
    ("GET", SWEEPS): READER,
    ("POST", SWEEPS): MEMBER,
    ("GET", SWEEPS + "/{sweep_id}"): READER,
    ("POST", SWEEPS + "/{sweep_id}/cancel"): MEMBER,
    ("POST", GRADERS + "/run"): MEMBER,
    ("POST", GRADERS + "/validate"): MEMBER,
    ("GET", PERMISSIONS): ADMIN,
    ("POST", PERMISSIONS): ADMIN,
    ("DELETE", PERMISSIONS + "/{permission_id}"): ADMIN,
    ("GET", "/v1/methods"): READER,
    ("GET", "/v1/methods/{method_type}"): READER,
    ("GET", "/v1/integrations"): READER,
    ("GET", "/v1/models"): READER,
    ("GET", "/v1/models/{model:path}"): READER,
    ("DELETE", "/v1/models/{model:path}"): MEMBER,
    ("GET", "/v1/adapters"): READER,
    ("GET", "/v1/adapters/{adapter_id}"): READER,
    ("DELETE", "/v1/adapters/{adapter_id}"): MEMBER,
    ("GET", "/v1/adapters/{adapter_id}/files/{name}"): READER,
    ("GET", "/v1/adapters/{adapter_id}/content"): READER,
    ("GET", "/v1/adapters/{adapter_id}/ranks"): READER,
    ("GET", "/v1/adapters/{adapter_id}/descendants"): READER,
    ("POST", "/v1/adapters"): MEMBER,
    ("POST", "/v1/adapters/compose"): MEMBER,
    ("GET", COMPOSITIONS): READER,
    ("GET", COMPOSITIONS + "/{composition_id}"): READER,
    ("POST", COMPOSITIONS + "/{composition_id}/cancel"): MEMBER,
    ("DELETE", COMPOSITIONS + "/{composition_id}"): MEMBER,
    ("GET", "/v1/adapters/{adapter_id}/portability"): READER,
    ("POST", "/v1/adapters/{adapter_id}/portability"): MEMBER,
    ("POST", "/v1/adapters/{adapter_id}/portability/cancel"): MEMBER,
    ("GET", "/v1/adapters/{adapter_id}/exports"): READER,
    ("POST", "/v1/adapters/{adapter_id}/exports"): MEMBER,
    ("GET", "/v1/adapters/{adapter_id}/exports/{export_id}"): READER,
    ("POST", "/v1/adapters/{adapter_id}/exports/{export_id}/cancel"): MEMBER,
    ("DELETE", "/v1/adapters/{adapter_id}/exports/{export_id}"): MEMBER,
    ("GET", "/v1/adapters/{adapter_id}/exports/{export_id}/content"): READER,
    ("GET", "/v1/adapters/{adapter_id}/exports/{export_id}/files/{name}"): READER,
    ("GET", EVALS): READER,
    ("POST", EVALS): MEMBER,
    ("GET", EVAL): READER,
    ("POST", EVAL): MEMBER,
    ("DELETE", EVAL): MEMBER,
    ("GET", EVAL + "/compare"): READER,
    ("GET", EVAL + "/compare/rows"): READER,
    ("GET", RUNS): READER,
    ("POST", RUNS): MEMBER,
    ("GET", RUNS + "/{run_id}"): READER,
    ("POST", RUNS + "/{run_id}/cancel"): MEMBER,
    ("DELETE", RUNS + "/{run_id}"): MEMBER,
    ("GET", RUNS + "/{run_id}/output_items"): READER,
    ("GET", RUNS + "/{run_id}/output_items/{output_item_id}"): READER,
    ("GET", ALIASES): READER,
    ("POST", ALIASES): MEMBER,
    ("GET", ALIASES + "/{alias}"): READER,
    ("DELETE", ALIASES + "/{alias}"): MEMBER,
    ("POST", ALIASES + "/{alias}/back"): MEMBER,
    ("GET", ALIASES + "/{alias}/history"): READER,
    ("POST", COMPLETIONS): MEMBER,
    ("POST", "/v1/completions"): MEMBER,
    ("POST", "/v1/tokenize"): MEMBER,
    ("GET", COMPLETIONS): READER,
    ("GET", COMPLETION): READER,
    ("POST", COMPLETION): MEMBER,
    ("DELETE", COMPLETION): MEMBER,
    ("GET", COMPLETION + "/messages"): READER,
    ("POST", COMPLETION + "/rating"): MEMBER,
    ("GET", "/v1/workers"): READER,
    ("GET", PROJECTS): ADMIN,
    ("POST", PROJECTS): OPERATOR,
    ("GET", PROJECTS + "/{project_id}"): ADMIN,
    ("POST", PROJECTS + "/{project_id}"): OPERATOR,
    ("GET", PROJECTS + "/{project_id}/api_keys"): ADMIN,
    ("POST", PROJECTS + "/{project_id}/api_keys"): ADMIN,
    ("GET", PROJECTS + "/{project_id}/api_keys/{api_key_id}"): ADMIN,
    ("DELETE", PROJECTS + "/{project_id}/api_keys/{api_key_id}"): ADMIN,
    ("GET", "/v1/secrets"): ADMIN,
    ("POST", "/v1/secrets"): ADMIN,
    ("DELETE", "/v1/secrets/{secret_name}"): ADMIN,
    ("GET", "/v1/webhook_event_types"): ADMIN,
    ("GET", WEBHOOKS): ADMIN,
    ("POST", WEBHOOKS): ADMIN,
    ("GET", WEBHOOK): ADMIN,
    ("POST", WEBHOOK): ADMIN,
    ("DELETE", WEBHOOK): ADMIN,
    ("POST", WEBHOOK + "/rotate_secret"): ADMIN,
    ("POST", WEBHOOK + "/test"): ADMIN,
    ("GET", WEBHOOK + "/deliveries"): ADMIN,
    ("POST", WEBHOOK + "/deliveries/{delivery_id}/redeliver"): ADMIN,
    ("GET", BASE_MODELS): OPERATOR,
    ("POST", BASE_MODELS): OPERATOR,
    ("POST", BASE_MODELS + "/check"): OPERATOR,
    ("DELETE", BASE_MODELS + "/{base_model}"): OPERATOR,
    ("GET", "/v1/organization/audit_logs"): ADMIN,
    ("GET", "/v1/organization/usage/fine_tuning"): ADMIN,
    ("GET", "/v1/organization/usage/completions"): ADMIN,
}
# Names in paths that belong to no project
COMMON = {"method_type": "lora", "base_model": "not-in-the-catalog"}
CLOSED = {route: who for route, who in ACCESS.items() if who != PUBLIC}

# Routes that change something, and need neither a name in the path nor a body
TAKE_NOTHING = {("DELETE", "/v1/session"): 204, ("POST", "/v1/session/links"): 200}

# Right bodies of POST requests, so that a stranger's request fails for the right reason only.
BODIES: dict[str, Any] = {
    UPLOADS + "/{upload_id}/complete": {"part_ids": ["part_x"]},
    PERMISSIONS: {"project_ids": ["x"]},
    COMPLETION: {"metadata": {"a": "b"}},
    COMPLETION + "/rating": {"rating": "up"},
    "/v1/adapters/{adapter_id}/exports": {"format": "lora"},
    "/v1/files/{file_id}/preview": {"model": BASE_MODEL},
    EVAL: {"name": "x"},
    RUNS: {"data_source": ROWS},
    WEBHOOK: {},
    WEBHOOK + "/rotate_secret": {},
    WEBHOOK + "/test": {"event_type": "fine_tuning.job.failed"},
    PROJECTS + "/{project_id}": {"quotas": {}},
    PROJECTS + "/{project_id}/api_keys": {"name": "x"},
}


# What a read must ask for, beside what its path names
TWO_RUNS = "?base={run_id}&tuned={run_id}"
QUERIES = {
    EVAL + "/compare": TWO_RUNS,
    EVAL + "/compare/rows": TWO_RUNS + f"&change=better&criterion={quote(CHECK['name'])}",
}


class Owned(NamedTuple):
    """Things that Alice's project owns: one of each kind that a path may name."""

    file_id: str
    upload_id: str
    fine_tuning_job_id: str
    adapter_id: str
    model: str
    fine_tuned_model_checkpoint: str
    permission_id: str
    project_id: str
    api_key_id: str
    webhook_endpoint_id: str
    delivery_id: str
    secret_name: str
    sweep_id: str
    checkpoint_id: str
    alias: str
    completion_id: str
    export_id: str
    eval_id: str
    run_id: str
    output_item_id: str
    composition_id: str
    check_id: str
    conversion_id: str
    name: str = "adapter_config.json"


MISSING = Owned(
    "file-" + "0" * 32,
    "upload_" + "0" * 32,
    "ftjob-" + "0" * 32,
    "adapter-" + "0" * 32,
    "ft:x",
    "ft:x",
    "cp_" + "0" * 32,
    "proj_" + "0" * 32,
    "0" * 32,
    "whe_" + "1" * 32,
    "whd_" + "1" * 32,
    "NO_SUCH_SECRET",
    "ftsweep-" + "1" * 32,
    "ftckpt-" + "0" * 32,
    "no-such-alias",
    "chatcmpl-" + "1" * 32,
    "export-" + "1" * 32,
    "eval-" + "1" * 32,
    "evalrun-" + "1" * 32,
    "evalrun-" + "1" * 32 + "-0",
    "composition-" + "1" * 32,
    "check-" + "1" * 32,
    "conversion-" + "1" * 32,
    "nothing.json",
)


@pytest.fixture(scope="module")
def owned(api: Api, alice: Tenant, tmp_path_factory: pytest.TempPathFactory) -> Owned:
    folder: Path = tmp_path_factory.mktemp("adapter")
    (folder / "adapter_config.json").write_text("{}")
    file_id, admin = alice.upload(), api.tenant("alice", Role.ADMIN)
    admin.http.post("/v1/secrets", json={"name": "A_SECRET", "value": "x"})
    wanted = {"name": "x", "url": "https://example.com", "event_types": ["fine_tuning.job.succeeded"]}
    webhook_id = admin.http.post(WEBHOOKS, json=wanted).json()["id"]
    job_id = alice.create_job(training_file=file_id, metadata={"secret": "alice"})["id"]
    lease = api.claim(job_id)
    checkpoint_id = api.checkpoint(lease, 3)
    adapter_id = api.finish(lease, folder)
    model = alice.job(job_id)["fine_tuned_model"]
    swept = {"model": BASE_MODEL, "training_file": file_id, "validation_file": file_id}
    sweep = alice.http.post(SWEEPS, json={**swept, "parameters": {"adapter.r": [4, 8]}}).json()
    announced = {"bytes": 1, "filename": "a", "mime_type": "text/plain", "purpose": "batch"}
    upload_id = alice.http.post(UPLOADS, json=announced).json()["id"]
    alice.http.post(ALIASES, json={"name": "the-alias", "model": BASE_MODEL})
    completion_id = store(alice)
    assert completion_id is not None
    export_id = alice.http.post(f"/v1/adapters/{adapter_id}/exports", json={"format": "lora"}).json()["id"]
    finish_export(api, folder, export_id)
    eval_id = make_eval(alice)
    run_id = make_run(alice, eval_id)
    finish_run(api, run_id, [judged(0)])
    asked = {"adapters": [{"adapter": adapter_id}]}
    composition_id = alice.http.post("/v1/adapters/compose", json=asked).json()["id"]
    check_id = alice.http.post(f"/v1/files/{file_id}/check").json()["id"]
    conversion_id = alice.http.post(f"/v1/files/{file_id}/convert").json()["id"]
    friend = api.tenant().project_id
    (permission,) = admin.openai.fine_tuning.checkpoints.permissions.create(model, project_ids=[friend])
    return Owned(
        file_id=file_id,
        upload_id=upload_id,
        fine_tuning_job_id=job_id,
        adapter_id=adapter_id,
        model=model,
        fine_tuned_model_checkpoint=model,
        permission_id=permission.id,
        project_id=alice.project_id,
        api_key_id=alice.key.split("_")[1],
        webhook_endpoint_id=webhook_id,
        delivery_id=admin.http.get(f"{WEBHOOKS}/{webhook_id}/deliveries").json()["data"][0]["id"],
        secret_name="A_SECRET",
        sweep_id=sweep["id"],
        checkpoint_id=checkpoint_id,
        alias="the-alias",
        completion_id=completion_id,
        export_id=export_id,
        eval_id=eval_id,
        run_id=run_id,
        output_item_id=f"{run_id}-0",
        composition_id=composition_id,
        check_id=check_id,
        conversion_id=conversion_id,
    )


@pytest.fixture(scope="module")
def keys(api: Api) -> dict[str, Tenant]:
    """Return one caller of each kind. All are in Alice's project, except the operator."""
    return {
        READER: api.tenant("alice", Role.READ_ONLY),
        MEMBER: api.tenant("alice", Role.MEMBER),
        ADMIN: api.tenant("alice", Role.ADMIN),
        OPERATOR: api.tenant("default", Role.ADMIN),
    }


def routes(api: Api) -> set[tuple[str, str]]:
    """Return every method and path that the app answers, for every kind of route."""
    found = set()
    for context in iter_route_contexts(api.app.routes):
        assert context.path is not None, "a route without a path: this test must learn about its kind"
        found |= {(method, context.path) for method in context.methods or {"GET"}}
    return found


def ask(client: httpx.Client, method: str, path: str, of: Owned) -> httpx.Response:
    filled = path + QUERIES.get(path, "")
    for name, value in (COMMON | of._asdict()).items():
        filled = filled.replace("{" + name + "}", value).replace("{" + name + ":path}", value)
    assert "{" not in filled, f"{path}: Owned must learn about a new parameter"
    return client.request(method, filled, json=BODIES.get(path) if method == "POST" else None)


@contextmanager
def unchanged(api: Api) -> Iterator[None]:
    before = state(api)
    yield
    assert state(api) == before


def state(api: Api) -> dict[str, Any]:
    """Return a digest of every table, and the names of all objects."""
    found: dict[str, Any] = {"objects": sorted(api.store.list(""))}
    with api.sessions() as session:
        for table in Base.metadata.tables:
            rows = session.scalars(text(f"SELECT CAST(t AS text) FROM {table} t ORDER BY 1"))
            found[table] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return found


def test_every_route_is_in_the_table(api: Api) -> None:
    assert routes(api) == set(ACCESS)
    assert {path for (_, path), who in ACCESS.items() if who == PUBLIC} == PUBLIC_PATHS


def test_public_routes_need_no_key(api: Api) -> None:
    signing_in = {"/v1/sign_in", "/v1/sign_in/link"}
    for path in PUBLIC_PATHS - signing_in - set(SIGN_ON_PATHS):
        assert httpx.get(api.url + path).status_code == 200, path
    for path in SIGN_ON_PATHS:
        refusal(httpx.get(api.url + path), 404, None, "sign_on_not_configured")
    own = {"x-tunery-dashboard": "1"}
    for path in signing_in:
        assert httpx.post(api.url + path, json={}, headers=own).status_code == 400, path


@pytest.mark.parametrize("credential", ["none", "bad", "revoked", "expired"])
def test_without_a_live_key_every_other_route_is_closed(api: Api, owned: Owned, credential: str) -> None:
    expired = datetime.now(UTC) - timedelta(seconds=1)
    tenant = api.tenant("alice", Role.ADMIN, expires_at=expired if credential == "expired" else None)
    if credential == "revoked":
        with api.sessions.begin() as session:
            revoke_key(session, tenant.key.split("_")[1])
    token = {"none": "", "bad": f"Bearer {tenant.key[:-1]}"}.get(credential, f"Bearer {tenant.key}")
    with (
        unchanged(api),
        httpx.Client(base_url=api.url, headers={"authorization": token}) as client,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        for answer in threads.map(lambda route: ask(client, *route, owned), CLOSED):
            assert answer.headers["www-authenticate"] == "Bearer"
            refusal(answer, 401, None, "invalid_api_key")


@pytest.mark.parametrize("caller", [READER, MEMBER, ADMIN])
def test_a_role_that_does_not_suffice_is_refused(
    api: Api, owned: Owned, keys: dict[str, Tenant], caller: str
) -> None:
    ranks = [READER, MEMBER, ADMIN, OPERATOR]
    refused = [route for route, needed in CLOSED.items() if ranks.index(caller) < ranks.index(needed)]
    with unchanged(api):
        for method, path in refused:
            answer = ask(keys[caller].http, method, path, owned)
            refusal(answer, 403, None, "insufficient_permissions")


def test_the_role_that_a_route_needs_suffices(owned: Owned, keys: dict[str, Tenant]) -> None:
    """A read succeeds. Any other request fails as the thing does not exist, or as nothing was sent."""
    for (method, path), needed in CLOSED.items():
        reads = method == "GET"
        answer = ask(keys[needed].http, method, path, owned if reads else MISSING)
        expected = {200} if reads else {404} if "{" in path else {TAKE_NOTHING.get((method, path), 400)}
        assert answer.status_code in expected, (method, path, answer.text)


def test_what_is_foreign_looks_like_what_does_not_exist(api: Api, alice: Tenant, owned: Owned) -> None:
    """On every route with an id, the two answers differ in the id only."""
    stranger = api.tenant(role=Role.ADMIN)
    with unchanged(api):
        for (method, path), needed in CLOSED.items():
            if "{" not in path or any("{" + name + "}" in path for name in COMMON):
                continue
            foreign = ask(stranger.http, method, path, owned)
            unknown = ask(stranger.http, method, path, MISSING)
            status = 403 if needed == OPERATOR else 404
            assert foreign.status_code == unknown.status_code == status, (method, path, foreign.text)
            assert without_ids(foreign, owned) == without_ids(unknown, MISSING), (method, path)


def without_ids(answer: httpx.Response, ids: Owned) -> str:
    shown = answer.text
    for value in ids:
        shown = shown.replace(value, "<id>")
    return shown


def test_lists_hold_nothing_foreign(api: Api, owned: Owned) -> None:
    stranger = api.tenant(role=Role.ADMIN)
    own = {stranger.project_id, stranger.key.split("_")[1]}
    for (method, path), needed in CLOSED.items():
        if method == "GET" and "{" not in path and needed != OPERATOR:
            shown = ask(stranger.http, method, path, owned).text
            assert not [value for value in owned if value in shown and value not in own], path
    cursors = (
        ("/v1/files", owned.file_id),
        (JOBS, owned.fine_tuning_job_id),
        (COMPLETIONS, owned.completion_id),
    )
    for path, cursor in cursors:
        assert stranger.http.get(path, params={"after": cursor}).json()["data"] == []
