"""Health and readiness, and what all answers share: ids, the form of errors, logs, the OpenAPI document."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from api.system.schemas import Readiness
from api.system.service import SharedReadiness
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, dataset, refusal, wait_for
from tests.fixtures.service.servers import database_on

DEADLINE = 60  # seconds; a busy machine takes some
NOWHERE = {
    "database": ("database_url", "postgresql://nobody:secret-password@127.0.0.1:1/none"),
    "broker": ("broker_url", "redis://:secret-password@127.0.0.1:1/0"),
    "storage": ("s3_endpoint_url", "http://127.0.0.1:1"),
}


def test_it_is_alive_and_ready(api: Api) -> None:
    assert httpx.get(f"{api.url}/healthz").json() == {"status": "ok"}
    answer = httpx.get(f"{api.url}/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "database": "ok",
        "migrations": "ok",
        "broker": "ok",
        "storage": "ok",
    }


@pytest.mark.parametrize("part", NOWHERE)
def test_readiness_names_the_part_that_is_down(api: Api, part: str) -> None:
    setting, address = NOWHERE[part]
    with api.beside(**{setting: address}) as lame:
        answer = httpx.get(f"{lame.url}/readyz", timeout=20)
        assert httpx.get(f"{lame.url}/healthz").status_code == 200

    found = answer.json()
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert found["status"] == "not ready"
    assert found[part] != "ok"
    assert "secret-password" not in answer.text
    fine = {"database", "migrations", "broker", "storage"} - {
        part,
        "migrations" if part == "database" else "",
    }
    assert {name: found[name] for name in fine} == dict.fromkeys(fine, "ok")


class Counted(SharedReadiness):
    """Counts the requests that ask for readiness."""

    asked = 0

    async def now(self) -> Readiness:
        self.asked += 1
        return await super().now()


def test_all_who_ask_at_once_for_readiness_share_one_look(api: Api, alice: Tenant) -> None:
    """More requests wait than the process has threads, and other requests do not wait for them."""
    looks, go_on = [], threading.Event()

    def look() -> Readiness:
        looks.append(1)
        assert go_on.wait(DEADLINE)
        return Readiness(status="ready", database="ok", migrations="ok", broker="ok", storage="ok")

    with api.beside() as another, ThreadPoolExecutor(60) as pool:
        readiness = another.app.state.readiness = Counted(look)
        asked = [pool.submit(httpx.get, f"{another.url}/readyz", timeout=DEADLINE) for _ in range(60)]
        wait_for(lambda: looks and readiness.asked == 60)
        assert alice.http.get(f"{another.url}/v1/models", timeout=DEADLINE / 2).is_success
        go_on.set()
        assert {answer.result().json()["status"] for answer in asked} == {"ready"}
        assert len(looks) == 1
        wait_for(lambda: httpx.get(f"{another.url}/readyz") and len(looks) == 2)


@pytest.mark.slow
def test_a_connection_stays_open_for_longer_than_clients_keep_theirs(api: Api) -> None:
    connection = HTTPConnection(urlsplit(api.url).netloc)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    connection.sock.settimeout(6)  # httpx closes the connection after 5
    with pytest.raises(TimeoutError):
        connection.sock.recv(1)  # or the end of the connection
    connection.close()


def test_readiness_and_requests_name_missing_migrations(api: Api, alice: Tenant, servers: Any) -> None:
    with database_on(servers) as empty, api.beside(database_url=empty) as lame:
        answer = httpx.get(f"{lame.url}/readyz")
        early = httpx.get(f"{lame.url}/v1/models", headers={"authorization": f"Bearer {alice.key}"})
    assert "tunery migrate" in refusal(early, 503, None, "unavailable")["message"]
    assert (answer.status_code, answer.json()["database"]) == (503, "ok")
    assert "tunery migrate" in answer.json()["migrations"]


def test_a_database_that_is_down_is_told_as_such(api: Api, alice: Tenant) -> None:
    with api.beside(database_url=NOWHERE["database"][1]) as lame:
        for method, path in (("GET", "/v1/files"), ("POST", "/v1/fine_tuning/jobs"), ("GET", "/v1/models")):
            answer = httpx.request(method, lame.url + path, headers={"authorization": f"Bearer {alice.key}"})
            error = refusal(answer, 503, None, "unavailable")
            assert "database" in error["message"]
            assert int(answer.headers["retry-after"]) > 0
            assert "secret-password" not in answer.text


def test_an_object_store_that_is_down_is_told_as_such(api: Api, alice: Tenant) -> None:
    file_id = alice.upload()
    with api.beside(s3_endpoint_url="http://127.0.0.1:1") as lame:
        http = httpx.Client(base_url=lame.url, headers={"authorization": f"Bearer {alice.key}"}, timeout=60)
        answers = [
            http.get(f"/v1/files/{file_id}/content"),
            http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a", dataset(10))}),
        ]
        deleted = http.delete(f"/v1/files/{alice.upload()}")
        http.close()
    for answer in answers:
        assert "object store" in refusal(answer, 503, None, "unavailable")["message"]
    assert deleted.is_success, "the janitor deletes the bytes later"
    assert alice.http.get(f"/v1/files/{file_id}/content").is_success


def test_unknown_urls_and_methods_are_refused_in_openais_form(alice: Tenant) -> None:
    error = refusal(alice.http.get("/v1/unheard-of"), 404, None, "unknown_url")
    assert error["message"] == "Invalid URL (GET /v1/unheard-of)"
    doubled = refusal(alice.http.get("/v1/v1/models"), 404, None, "unknown_url")
    assert doubled["message"] == "Invalid URL (GET /v1/v1/models). The base URL ends in a single /v1."
    newer = refusal(alice.http.post("/v1/responses", json={}), 404, None, "unknown_url")
    assert newer["message"].endswith("POST /v1/chat/completions answers chats.")
    missing = refusal(alice.http.post("/v1/embeddings", json={}), 404, None, "unknown_url")
    assert "/guide/migrate-from-openai says what is missing" in missing["message"]
    for method, path, allowed in (
        ("PUT", "/v1/files", "GET, POST"),
        ("PUT", "/v1/fine_tuning/jobs/x", "DELETE, GET"),
        ("POST", "/v1/models/x", "DELETE, GET"),
    ):
        answer = alice.http.request(method, path)
        assert (
            refusal(answer, 405, None, "method_not_allowed")["message"]
            == f"Not allowed to {method} on {path}"
        )
        assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/v1/files", "/v1/models", "/v1/fine_tuning/jobs"])
def test_a_slash_at_the_end_of_an_address_changes_nothing(alice: Tenant, path: str) -> None:
    assert alice.http.get(f"{path}/").json() == alice.http.get(path).json()
    assert alice.http.get(f"{path}//").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/v1/files/a%00b", "/v1/files?after=%00", "/v1/models/%00", "/v1/fine_tuning/jobs?metadata[k]=%00"],
)
def test_a_nul_in_the_url_is_refused(alice: Tenant, path: str) -> None:
    refusal(alice.http.get(path), 400, None, "invalid_url")


@pytest.mark.parametrize("path", ["/v1/files/%ff%fe", "/v1/files?purpose=%ff", "/v1/files/" + "x" * 5000])
def test_odd_urls_break_nothing(alice: Tenant, path: str) -> None:
    assert alice.http.get(path).status_code in (200, 404)


def test_every_answer_has_a_request_id_and_keeps_a_sane_one(alice: Tenant) -> None:
    for path in ("/v1/files", "/v1/unheard-of", "/healthz", "/v1/files?limit=x"):
        made = alice.http.get(path).headers["x-request-id"]
        assert made.startswith("req_")
        assert alice.http.get(path).headers["x-request-id"] != made
        given = alice.http.get(path, headers={"x-request-id": "trace-1.2_3"})
        assert given.headers["x-request-id"] == "trace-1.2_3"
    for odd in ("a b", "x" * 200, '"><script>'):
        answer = alice.http.get("/v1/files", headers={"x-request-id": odd})
        assert answer.headers["x-request-id"].startswith("req_")


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as entries:
        yield entries


def test_a_request_leaves_one_line_without_secrets(alice: Tenant, log: list[Any]) -> None:
    alice.http.get("/v1/files?purpose=fine-tune", headers={"x-request-id": "seen-1"})
    alice.http.post(
        "/v1/fine_tuning/jobs", json={"model": BASE_MODEL, "training_file": "x", "suffix": "private"}
    )
    lines = [entry for entry in log if entry["event"] == "request"]

    assert len(lines) == 2
    assert {
        "method": "GET",
        "path": "/v1/files",
        "status": 200,
        "request_id": "seen-1",
        "project": alice.project_id,
    }.items() <= lines[0].items()
    assert lines[0]["seconds"] >= 0
    assert lines[1]["status"] == 400
    secret = alice.key.split("_")[2]
    assert secret not in json.dumps(log, default=str)
    assert "private" not in json.dumps(log, default=str)


def test_a_bug_is_told_to_the_log_and_not_to_the_client(api: Api, alice: Tenant, log: list[Any]) -> None:
    app: FastAPI = create_app(api.settings)

    @app.get("/v1/bug")
    def bug() -> None:
        key_in_a_local_variable = "local-secret"
        raise RuntimeError("the inner reason" + key_in_a_local_variable[:0])

    with TestClient(app) as client:
        answer = client.get("/v1/bug", headers={"authorization": f"Bearer {alice.key}"})

    error = refusal(answer, 500, None, "internal_error")
    assert error["type"] == "server_error"
    assert "inner reason" not in answer.text
    assert answer.headers["x-request-id"] in error["message"]
    (failure,) = [entry for entry in log if entry["event"] == "request_failed"]
    assert failure["request_id"] == answer.headers["x-request-id"]
    assert "RuntimeError: the inner reason" in failure["exception"]
    assert "local-secret" not in json.dumps(log, default=str)
    (line,) = [entry for entry in log if entry["event"] == "request"]
    assert line["status"] == 500


def test_a_route_of_one_app_is_in_the_document_of_no_other(api: Api) -> None:
    app = create_app(api.settings)

    @app.get("/v1/own")
    def own() -> None: ...

    assert "/v1/own" in app.openapi()["paths"]
    assert "/v1/own" not in api.app.openapi()["paths"]
    assert create_app(api.settings).openapi() is api.app.openapi(), "it is made once"


def test_large_json_travels_compressed_to_whoever_takes_gzip(api: Api, alice: Tenant) -> None:
    def sent(path: str, accepts: str) -> tuple[httpx.Response, int]:
        headers = {"authorization": f"Bearer {alice.key}", "accept-encoding": accepts}
        with httpx.stream("GET", api.url + path, headers=headers) as answer:
            return answer, sum(map(len, answer.iter_raw()))

    plain, whole = sent("/openapi.json", "identity")
    answer, size = sent("/openapi.json", "gzip, br")
    assert "content-encoding" not in plain.headers
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert size < whole / 5
    assert (
        httpx.get(f"{api.url}/openapi.json").json()
        == httpx.get(f"{api.url}/openapi.json", headers={"accept-encoding": "identity"}).json()
    )
    small, _ = sent("/healthz", "gzip")
    file_id = alice.upload(dataset(1000))
    file, size = sent(f"/v1/files/{file_id}/content", "gzip")
    assert "content-encoding" not in small.headers
    assert ("content-encoding" in file.headers, size) == (False, len(dataset(1000)))


def test_the_openapi_document_is_honest(api: Api) -> None:
    openapi = httpx.get(f"{api.url}/openapi.json").json()
    operations = [operation for path in openapi["paths"].values() for operation in path.values()]
    assert len(operations) >= 19
    for operation in operations:
        assert "422" not in operation["responses"], "no answer of ours has FastAPI's form"
    upload = openapi["paths"]["/v1/files"]["post"]
    assert upload["requestBody"]["content"]["multipart/form-data"]["schema"]["required"] == [
        "file",
        "purpose",
    ]
    create = openapi["paths"]["/v1/fine_tuning/jobs"]["post"]["responses"]
    assert {"200", "400", "401", "413", "503", "default"} <= set(create)
    for status in ("400", "401", "default"):
        schema = create[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorBody"}
    assert upload["security"] == [{"HTTPBearer": []}]


@pytest.mark.slow
def test_starting_the_api_pays_for_no_training_library() -> None:
    heavy = ("torch", "transformers", "peft", "worker", "cli")
    code = f"import sys, api.app; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
