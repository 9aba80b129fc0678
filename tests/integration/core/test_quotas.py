"""What a project may have and ask for, whoever asks at once, and however many servers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from sqlalchemy import func, select

from core.access.idempotency import KEPT, RETRY_WINDOW
from core.artifacts import stored_bytes
from core.jobs import queue
from core.roles import Role
from core.tables import File, Job
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, dataset, refusal
from tests.fixtures.service.janitor import clean
from tests.fixtures.work.evals_api import CHECK, EVAL, EVALS, ROWS, make_eval

JOBS = "/v1/fine_tuning/jobs"
RETRY = {"x-stainless-retry-count": "1"}
MEBIBYTE = 1024**2


@pytest.fixture(scope="module")
def second_api(api: Api) -> Iterator[Api]:
    """Another API on the same database and broker."""
    with api.beside() as second:
        yield second


@pytest.fixture
def tenant(api: Api) -> Tenant:
    return api.tenant()


def create(tenant: Tenant, file_id: str) -> httpx.Response:
    return tenant.http.post(JOBS, json={"model": BASE_MODEL, "training_file": file_id})


def upload(tenant: Tenant, size: int, url: str = "") -> httpx.Response:
    files: Any = {"file": ("a.txt", b"x" * size)}
    return tenant.http.post(f"{url}/v1/files", data={"purpose": "user_data"}, files=files)


# Queued jobs


def test_a_full_queue_takes_no_more_until_a_job_leaves_it(api: Api, tenant: Tenant) -> None:
    file_id = tenant.upload()
    tenant.allow(queued_jobs=2)
    first, _ = (create(tenant, file_id).json()["id"] for _ in range(2))
    refused = create(tenant, file_id)
    refusal(refused, 429, None, "rate_limit_exceeded")
    assert int(refused.headers["retry-after"]) > 0
    with pytest.raises(openai.RateLimitError):
        tenant.openai.fine_tuning.jobs.create(model=BASE_MODEL, training_file=file_id)
    assert len(tenant.http.get(JOBS).json()["data"]) == 2

    tenant.http.post(f"{JOBS}/{first}/pause")
    assert create(tenant, file_id).is_success
    refusal(tenant.http.post(f"{JOBS}/{first}/resume"), 429, None, "rate_limit_exceeded")
    assert tenant.job(first)["status"] == "paused"
    assert api.tenant().create_job()["status"] == "queued"
    tenant.allow(queued_jobs=None)
    assert tenant.http.post(f"{JOBS}/{first}/resume").is_success


def test_creations_at_once_do_not_exceed_the_queue_together(tenant: Tenant) -> None:
    file_id = tenant.upload()
    tenant.allow(queued_jobs=3)
    with ThreadPoolExecutor(12) as pool:
        statuses = [answer.status_code for answer in pool.map(lambda _: create(tenant, file_id), range(12))]
    assert sorted(statuses) == [200] * 3 + [429] * 9


# Running jobs


def test_a_projects_own_cap_of_running_jobs_goes_before_the_default(api: Api, tenant: Tenant) -> None:
    job_id = tenant.create_job()["id"]

    def may_be_claimed(default: int | None) -> bool:
        with api.sessions() as session:
            others = select(Job.id).where(Job.status == "queued", Job.id != job_id)
            return queue.first_job(session, default, 1, session.scalars(others).all()) == job_id

    for own, default, claimable in ((None, None, True), (0, None, False), (0, 5, False), (1, None, True)):
        tenant.allow(running_jobs=own)
        assert may_be_claimed(default) is claimable, (own, default)
    api.claim(job_id)
    job_id = tenant.create_job()["id"]
    for own, default, claimable in ((1, 5, False), (2, 1, True), (None, 1, False), (None, 2, True)):
        tenant.allow(running_jobs=own)
        assert may_be_claimed(default) is claimable, (own, default)


# Stored bytes


def test_a_file_that_does_not_fit_is_refused_and_leaves_nothing(api: Api, tenant: Tenant) -> None:
    tenant.allow(stored_bytes=1000)
    kept = upload(tenant, 600).json()["id"]
    stored = set(api.store.list("files/"))
    refused = upload(tenant, 401)
    message = refusal(refused, 429, "file", "insufficient_quota")["message"]
    assert message.startswith("This project may store 1,000 bytes, and this file does not fit. Delete")
    assert refused.headers["x-should-retry"] == "false"
    clean(api)
    assert set(api.store.list("files/")) == stored
    assert upload(tenant, 400).is_success
    tenant.http.delete(f"/v1/files/{kept}")
    assert upload(tenant, 600).is_success


def upload_no_form(tenant: Tenant, headers: dict[str, str]) -> httpx.Response:
    """Send a body that is refused with 400 once it is read."""
    form = {"content-type": "multipart/form-data; boundary=b"}
    return tenant.http.post("/v1/files", content=b"x" * 8 * MEBIBYTE, headers=form | headers)


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "new"}, RETRY], ids=["first", "key", "retry"])
def test_a_file_that_cannot_fit_is_refused_before_it_is_sent(tenant: Tenant, headers: dict[str, str]) -> None:
    tenant.allow(stored_bytes=1000)
    assert upload(tenant, 600).is_success
    refusal(upload_no_form(tenant, headers), 429, "file", "insufficient_quota")


def test_a_retry_is_read_in_spite_of_a_full_store_only_if_the_file_before_it_is_new(
    api: Api, tenant: Tenant
) -> None:
    tenant.allow(stored_bytes=8 * MEBIBYTE)
    file_id = upload(tenant, 15 * MEBIBYTE // 2).json()["id"]
    refusal(upload_no_form(tenant, RETRY), 400, None, "invalid_multipart")
    with api.sessions.begin() as session:
        session.get_one(File, file_id).created_at = func.now() - RETRY_WINDOW
    refusal(upload_no_form(tenant, RETRY), 429, "file", "insufficient_quota")


def test_what_makes_bytes_of_its_own_is_refused_only_once_the_store_is_full(
    api: Api, tenant: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    adapter_id = api.finish(api.claim(tenant.create_job()["id"]), tmp_path)
    eval_id = make_eval(tenant)

    def asked() -> list[httpx.Response]:
        return [
            tenant.http.post(f"/v1/adapters/{adapter_id}/exports", json={"format": "lora"}),
            tenant.http.post("/v1/adapters/compose", json={"adapters": [{"adapter": adapter_id}]}),
            tenant.http.post(f"{EVALS}/{eval_id}/runs", json={"data_source": ROWS}),
        ]

    with api.sessions() as session:
        held = stored_bytes(session, tenant.project_id)
    tenant.allow(stored_bytes=held)
    for answer in asked():
        message = refusal(answer, 429, None, "insufficient_quota")["message"]
        assert message.startswith(
            f"This project may store {held:,} bytes, and this request does not fit. Delete"
        )
    tenant.allow(stored_bytes=held + MEBIBYTE)
    assert [answer.status_code for answer in asked()] == [200] * 3


TEXT = "x" * 640_000
REFERENCE = "x" * 64_000
LARGE = {"testing_criteria": [{**CHECK, "name": str(each), "reference": REFERENCE} for each in range(10)]}


def large_request(tenant: Tenant, kind: str) -> tuple[str, dict[str, Any]]:
    """Return a request that writes half a megabyte or more into rows: where it is sent, and with what."""
    if kind == "eval":
        return EVALS, EVAL | LARGE
    if kind == "run":
        source = {"type": "file_content", "content": [{"item": {"question": "Why?", "text": TEXT}}]}
        return f"{EVALS}/{make_eval(tenant)}/runs", {"data_source": ROWS | {"source": source}}
    prompts = [f"{number} {'x' * 9990}" for number in range(50)]
    job = {"model": BASE_MODEL, "training_file": tenant.upload(), "augmentation": {"system_prompts": prompts}}
    if kind == "job":
        return JOBS, job
    tried = {"parameters": {"training.learning_rate": [1e-3, 1e-4]}, "validation_file": tenant.upload()}
    return "/v1/fine_tuning/sweeps", job | tried


@pytest.mark.parametrize("kind", ["eval", "run", "job", "sweep"])
def test_what_clients_write_into_rows_counts_and_is_refused_once_it_does_not_fit(
    api: Api, tenant: Tenant, kind: str
) -> None:
    path, body = large_request(tenant, kind)
    with api.sessions() as session:
        tenant.allow(stored_bytes=stored_bytes(session, tenant.project_id) + 2 * MEBIBYTE)
    answers = [tenant.http.post(path, json=body) for _ in range(5)]
    taken = [answer.is_success for answer in answers]
    assert (taken[0], taken) == (True, sorted(taken, reverse=True)), answers[0].text
    message = refusal(answers[-1], 429, None, "insufficient_quota")["message"]
    assert "and this request does not fit. Delete" in message


def test_a_large_answer_counts_as_long_as_a_repeated_request_gets_it(api: Api, tenant: Tenant) -> None:
    def counted() -> int:
        with api.sessions() as session:
            return stored_bytes(session, tenant.project_id)

    eval_id = make_eval(tenant, **LARGE)
    assert counted() > 2 * len(TEXT)
    tenant.http.delete(f"{EVALS}/{eval_id}")
    assert len(TEXT) < counted() < 2 * len(TEXT)
    clean(api, KEPT)
    assert counted() == 0


def test_a_change_of_an_eval_counts(api: Api, tenant: Tenant) -> None:
    eval_id = make_eval(tenant)
    with api.sessions() as session:
        tenant.allow(stored_bytes=stored_bytes(session, tenant.project_id) + 1000)
    larger = {"metadata": {f"key {number}": "x" * 500 for number in range(4)}}
    refusal(tenant.http.post(f"{EVALS}/{eval_id}", json=larger), 429, None, "insufficient_quota")
    assert tenant.http.get(f"{EVALS}/{eval_id}").json()["metadata"] is None
    assert tenant.http.post(f"{EVALS}/{eval_id}", json={"metadata": {"key": "x" * 500}}).is_success


def test_uploads_at_once_do_not_exceed_the_store_together(tenant: Tenant, second_api: Api) -> None:
    tenant.allow(stored_bytes=1000)
    with ThreadPoolExecutor(8) as pool:
        urls = ["", second_api.url] * 4
        answers = list(pool.map(lambda url: upload(tenant, 300, url).status_code, urls))
    assert sorted(answers) == [200] * 3 + [429] * 5


# Requests per minute


def test_requests_are_counted_over_all_servers_together(api: Api, tenant: Tenant, second_api: Api) -> None:
    other = api.tenant()
    tenant.allow(requests_per_minute=6)
    statuses = [
        tenant.http.get(f"{url}/v1/models").status_code for _ in range(5) for url in ("", second_api.url)
    ]
    assert statuses == [200] * 6 + [429] * 4
    refused = tenant.http.post("/v1/files", files={"file": ("a.jsonl", dataset(12))})
    refusal(refused, 429, None, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    with pytest.raises(openai.RateLimitError):
        tenant.openai.models.list()
    assert other.http.get("/v1/models").is_success
    assert tenant.http.get("/healthz").is_success


def test_answers_tell_how_many_requests_are_left(tenant: Tenant) -> None:
    assert not any("ratelimit" in name for name in tenant.http.get("/v1/models").headers)
    tenant.allow(requests_per_minute=3)
    answers = [tenant.http.get("/v1/models") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429]
    assert [answer.headers["x-ratelimit-limit-requests"] for answer in answers] == ["3"] * 4
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]


def test_requests_that_the_role_does_not_allow_are_counted_too(api: Api, tenant: Tenant) -> None:
    tenant.allow(requests_per_minute=2)
    reader = api.tenant(tenant.project, Role.READ_ONLY)
    statuses = [reader.http.post(JOBS, json={}).status_code for _ in range(4)]
    assert statuses == [403] * 2 + [429] * 2


def test_without_the_broker_every_request_passes(api: Api, tenant: Tenant, closed_port: int) -> None:
    tenant.allow(requests_per_minute=2)
    with api.beside(broker_url=f"redis://127.0.0.1:{closed_port}/0") as alone:
        answers = [tenant.http.get(f"{alone.url}/v1/models").status_code for _ in range(5)]
    assert answers == [200] * 5


def test_the_installations_default_holds_for_projects_without_their_own(api: Api, tenant: Tenant) -> None:
    file_id = tenant.upload()
    with api.beside(project_queued_jobs=0, project_stored_bytes=10) as strict:
        url = strict.url
        body = {"model": BASE_MODEL, "training_file": file_id}
        assert tenant.http.post(url + JOBS, json=body).status_code == 429
        assert upload(tenant, 20, url).status_code == 429
        tenant.allow(queued_jobs=1, stored_bytes=10**6)
        assert tenant.http.post(url + JOBS, json=body).is_success
        assert upload(tenant, 20, url).is_success
