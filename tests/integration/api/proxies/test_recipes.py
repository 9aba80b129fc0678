"""The recipes for nginx and HAProxy before two APIs: what passes, what they add, and what they survive."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event

import httpx
import pytest

from cli.embedded import EmbeddedServers
from core.roles import Role
from tests.fixtures.models.tiny import TINY
from tests.fixtures.outside.openid import openid_provider, settings_of, walk
from tests.fixtures.outside.proxies import Proxy, proxy
from tests.fixtures.processes.ports import free_port
from tests.fixtures.service.api import Api, Tenant, refusal, running_api
from tests.fixtures.service.chatting import settings_for
from tests.fixtures.service.serving import ServerProcess, Serving

pytestmark = pytest.mark.slow  # a server loads a model

MIB = 1024**2
MAX_FILE_BYTES = 80 * MIB
ADA = {"ada": {"email": "ada@example.com", "groups": ["team"]}}
OWN = {"x-tunery-dashboard": "1"}


@dataclass(frozen=True)
class Service:
    """A proxy, and the APIs behind it."""

    proxy: Proxy
    apis: tuple[Api, Api]
    tenant: Tenant

    def client(self) -> httpx.Client:
        return self.proxy.client(headers={"authorization": f"Bearer {self.tenant.key}"})


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def service(
    request: pytest.FixtureRequest,
    servers: EmbeddedServers,
    database_url: str,
    serving: Serving,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    settings = settings_for(serving, servers, database_url, tmp_path_factory.mktemp("home"))
    ports, port = (free_port(), free_port()), free_port()
    url = f"https://127.0.0.1:{port}"
    with ExitStack() as stack:
        provider = stack.enter_context(openid_provider(url, ADA))
        update = settings_of(provider, url, sign_on_groups={"team": {"research": Role.MEMBER}})
        update |= {"max_file_bytes": MAX_FILE_BYTES, "api_metrics_port": 0}
        settings = settings.model_copy(update=update)
        first, second = (stack.enter_context(running_api(settings, serving.sessions, each)) for each in ports)
        folder = tmp_path_factory.mktemp(request.param)
        before = stack.enter_context(proxy(request.param, folder, ports, port))
        yield Service(before, (first, second), first.tenant())


@pytest.fixture(scope="module")
def server(serving: Serving) -> ServerProcess:
    """Return a server that takes half a second for each token."""
    return serving.start(rest=0.5)


def test_a_chat_arrives_token_by_token(service: Service, server: ServerProcess) -> None:
    """The whole answer would fit into the buffers of a proxy."""
    messages = [{"role": "user", "content": "Hello"}]
    body = {"model": TINY, "messages": messages, "max_tokens": 12, "ignore_eos": True, "stream": True}
    with service.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in answer.iter_lines() if line.startswith("data: {"))
        for _ in range(2):
            assert json.loads(next(lines).removeprefix("data: "))["object"] == "chat.completion.chunk"
        assert server.state()["requests"], "the answer is still being written"


def test_large_files_pass_and_the_api_says_which_are_too_large(service: Service) -> None:
    row = json.dumps(
        {"messages": [{"role": "user", "content": "a" * MIB}, {"role": "assistant", "content": "b"}]}
    )

    def sent(rows: int) -> httpx.Response:
        file = ("large.jsonl", (row + "\n").encode() * rows)
        return client.post("/v1/files", files={"file": file}, data={"purpose": "fine-tune"})

    with service.client() as client:
        kept = sent(66)
        assert kept.json()["bytes"] > 64 * MIB, kept.text
        client.delete(f"/v1/files/{kept.json()['id']}")
        refusal(sent(82), 413, "file", "file_too_large")


def test_the_browser_is_known_to_have_come_by_tls_whatever_it_claims(service: Service) -> None:
    claimed = OWN | {"x-forwarded-proto": "http", "x-forwarded-for": "10.9.8.7", "forwarded": "proto=http"}
    with service.proxy.client() as client:
        answer = client.post("/v1/sign_in", json={"api_key": service.tenant.key}, headers=claimed)
        cookie, *attributes = answer.headers["set-cookie"].split("; ")
        assert cookie.startswith("__Host-tunery_session=")
        assert {"Secure", "HttpOnly", "SameSite=strict"} <= set(attributes)
        assert client.get("/v1/session").is_success
        assert "max-age=" in answer.headers["strict-transport-security"]
    plain = httpx.get(f"http://127.0.0.1:{service.proxy.plain_port}/jobs?x=1", trust_env=False)
    assert (plain.status_code, plain.headers["location"].startswith("https://")) == (308, True)
    assert plain.headers["location"].endswith("/jobs?x=1")


def test_a_person_signs_on_through_the_proxy_whichever_api_they_come_back_to(service: Service) -> None:
    with service.proxy.client() as client:
        for _ in range(3):
            answer = walk(client, "/v1/sign_on?next=/jobs", "ada")
            assert answer.headers["location"] == f"{service.proxy.url}/jobs"
            kept = {cookie.partition("=")[0]: cookie for cookie in answer.headers.get_list("set-cookie")}
            assert {"Secure", "SameSite=strict"} <= set(kept["__Host-tunery_session"].split("; "))
            assert client.get("/v1/session").json()["project"]["name"] == "research"


def test_another_name_is_not_answered_and_leads_nowhere(service: Service) -> None:
    named = {"host": "evil.example.com"}
    for url in (service.proxy.url, f"http://127.0.0.1:{service.proxy.plain_port}"):
        try:
            answer = httpx.get(f"{url}/jobs", headers=named, trust_env=False, verify=service.proxy.trusted)
        except httpx.RemoteProtocolError:
            continue  # nginx closes the connection
        assert (answer.status_code, "location" in answer.headers) == (421, False)


def test_sign_ons_of_one_address_are_bounded_and_other_requests_are_not(service: Service) -> None:
    with service.proxy.client() as client:
        signing_on = [client.get("/v1/sign_on/end").status_code for _ in range(120)]
        assert signing_on[0] != 429
        assert 429 in signing_on
        assert client.get("/readyz").status_code == 200


def test_each_request_has_an_id_of_the_proxy(service: Service) -> None:
    with service.client() as client:
        ids = {
            client.get("/v1/models", headers={"x-request-id": "mine"}).headers["x-request-id"]
            for _ in range(3)
        }
    assert len(ids) == 3
    assert not any(each == "mine" or each.startswith("req_") for each in ids)


def test_the_page_for_prometheus_is_not_reached_through_the_proxy(service: Service) -> None:
    with service.proxy.client() as client:
        for path in ("/metrics", "/v1/metrics"):
            assert "tunery_api" not in client.get(path).text
        assert client.get("/readyz").status_code == 200


def test_no_request_fails_while_one_of_two_apis_stops(service: Service) -> None:
    """It comes last: the first API is gone after it."""
    stopped = Event()

    def ask() -> list[int]:
        after, answers = 0, []
        with service.client() as client:
            while after < 20:
                answers.append(client.get("/v1/models").status_code)
                # Each of these makes a connection of its own, as new clients do
                with service.client() as another:
                    answers.append(another.post("/v1/session/links").status_code)
                after += stopped.is_set()
        return answers

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        service.apis[0].stop()
        stopped.set()
        answers = [status for each in asking for status in each.result()]
    assert set(answers) == {200}
    assert len(answers) >= 120
