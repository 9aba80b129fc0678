"""Traces through all processes of a service, as a collector gets them, and collectors that are away."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.embedded import EmbeddedServers
from core.roles import Role
from faults.receiver import receiving
from tests.fixtures.models.tiny import TINY
from tests.fixtures.outside.collector import Collector, Seen, collecting, silent_collector
from tests.fixtures.service.api import Api, wait_for
from tests.fixtures.service.stack import Stack, Worker, cancel_all, short_rows, stack_on

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5  # the kinds of spans, as OTLP numbers them
EXIT_SECONDS = 10  # in which an idle API ends, whatever its collector does


@dataclass
class Traced:
    """A service whose API, worker and server are processes that send their spans to a collector."""

    stack: Stack
    folder: Path
    worker: Worker
    http: httpx.Client
    collector: Collector

    def ask_for_job(self, trace: str, rows: int = 16, epochs: int = 2, **headers: str) -> str:
        """Create a job in a trace of its client, and return its id."""
        hyperparameters = {"n_epochs": epochs, "batch_size": 4}
        body = {
            "model": TINY,
            "training_file": self.stack.tenant.upload(short_rows(rows)),
            "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        }
        traceparent = {"traceparent": f"00-{trace}-{SPAN}-01"}
        answer = self.http.post("/v1/fine_tuning/jobs", json=body, headers={**traceparent, **headers})
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-trace-id"] == trace
        return str(answer.json()["id"])

    def of(self, trace: str) -> list[Seen]:
        return [span for span in self.collector.seen if span.trace == trace]

    def one(self, trace: str, name: str, **attributes: Any) -> Seen:
        """Return the only span of this name in the trace, once it has come."""

        def found() -> list[Seen]:
            return [span for span in self.collector.named(name, **attributes) if span.trace == trace]

        (span,) = wait_for(found, 90)
        return span  # type: ignore[no-any-return]

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of the log of a process that are JSON objects."""
        written = (self.folder / f"{name}.log").read_text().splitlines()
        return [json.loads(line) for line in written if line.startswith("{")]


@pytest.fixture(scope="module")
def traced(
    module_servers: EmbeddedServers, job_api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    with (
        collecting() as collector,
        pytest.MonkeyPatch.context() as patch,
        stack_on(module_servers, job_api, folder) as stack,
    ):
        for name, value in collector.environment.items():
            patch.setenv(name, value)
        worker = stack.start_worker(log_json="true", checkpoint_seconds="1")
        stack.start_server(log_json="true")
        url = stack.start_api(log_json="true")
        admin = job_api.tenant(stack.tenant.project, Role.ADMIN)
        headers = {"authorization": f"Bearer {admin.key}"}
        with httpx.Client(base_url=url, headers=headers, timeout=120) as http:
            yield Traced(stack, folder, worker, http, collector)
        cancel_all(stack.api, stack.tenant)


@pytest.fixture(scope="module")
def job_id(traced: Traced) -> str:
    """A job that has been trained and published in the trace TRACE, and told to a webhook in it."""
    with receiving() as receiver:
        endpoint = {
            "name": "ends",
            "url": f"{receiver.url}/hook",
            "event_types": ["fine_tuning.job.succeeded"],
        }
        made = traced.http.post("/v1/webhook_endpoints", json=endpoint)
        assert made.status_code == 200, made.text
        job_id = traced.ask_for_job(TRACE, **{"x-request-id": "my-request"})
        traced.stack.wait_for_status(job_id, "succeeded")
        wait_for(lambda: receiver.requests, 60)
        sent = traced.one(TRACE, "webhook.send")
        assert receiver.requests[0].headers["traceparent"] == f"00-{TRACE}-{sent.id}-01"
        traced.http.delete(f"/v1/webhook_endpoints/{made.json()['id']}")
    return job_id


def test_a_job_is_one_trace_from_its_request_to_its_webhook(traced: Traced, job_id: str) -> None:
    post = traced.one(TRACE, "POST /v1/fine_tuning/jobs")
    assert (post.parent, post.process, post.kind) == (SPAN, "api", SERVER)
    assert post.attributes["tunery.request.id"] == "my-request"
    sent = traced.one(TRACE, "hint.send")
    assert (sent.parent, sent.process, sent.kind) == (post.id, "api", PRODUCER)
    woken = traced.one(TRACE, "hint.wake")
    assert (woken.parent, woken.process, woken.kind) == (sent.id, "worker", CONSUMER)
    claim = traced.one(TRACE, "job.claim")
    assert (claim.parent, claim.process) == (post.id, "trainer")
    assert claim.attributes["tunery.job.id"] == job_id
    assert claim.attributes["tunery.job.attempt"] == 1
    publication = traced.one(TRACE, "job.publish")
    for name in ("job.load_base", "job.read_rows", "job.attach"):
        assert traced.one(TRACE, name).parent == claim.id
    assert publication.parent == claim.id
    uploads = [span for span in traced.of(TRACE) if span.name == "store.upload"]
    checkpoints = {span.id for span in traced.of(TRACE) if span.name == "job.checkpoint"}
    assert {span.parent for span in uploads} == checkpoints | {publication.id}
    assert len(checkpoints) >= 2, "each epoch ends with a checkpoint"
    webhook = traced.one(TRACE, "webhook.send")
    assert (webhook.parent, webhook.process) == (post.id, "worker")


def test_the_spans_of_steps_tell_of_all_steps(traced: Traced, job_id: str) -> None:
    steps = sorted(
        (span for span in traced.of(TRACE) if span.name == "job.steps"), key=lambda span: span.began
    )
    spans = [(span.attributes["tunery.steps.first"], span.attributes["tunery.steps.last"]) for span in steps]
    assert [number for first, last in spans for number in range(first, last + 1)] == list(range(1, 9))
    tokens = sum(span.attributes["tunery.steps.tokens"] for span in steps)
    assert tokens == traced.stack.job(job_id).trained_tokens
    assert {span.parent for span in steps} == {traced.one(TRACE, "job.claim").id}


def test_no_span_of_a_job_has_lost_its_parent(traced: Traced, job_id: str) -> None:
    ids = {span.id for span in traced.of(TRACE)}
    assert {span.parent for span in traced.of(TRACE)} <= ids | {SPAN}


def test_what_a_client_asks_of_a_job_refers_to_its_trace(traced: Traced, job_id: str) -> None:
    answer = traced.http.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
    assert answer.status_code == 400
    cancel = traced.one(answer.headers["x-trace-id"], "POST /v1/fine_tuning/jobs/{fine_tuning_job_id}/cancel")
    assert cancel.links == ((TRACE, traced.one(TRACE, "POST /v1/fine_tuning/jobs").id),)
    assert cancel.attributes["error.type"] == "job_not_cancellable"
    assert not cancel.failed, "the service did what it should"


@pytest.mark.exhaustive
def test_a_job_whose_trainer_was_killed_stays_in_its_trace(traced: Traced) -> None:
    trace = "1" * 32
    job_id = traced.ask_for_job(trace, rows=400, epochs=1)
    traced.one(trace, "job.claim")
    wait_for(lambda: [span for span in traced.of(trace) if span.name == "job.checkpoint"], 120)
    traced.worker.trainer().kill()
    traced.stack.wait_for_status(job_id, "succeeded")
    post = traced.one(trace, "POST /v1/fine_tuning/jobs")
    lost = traced.one(trace, "job.lost")
    assert (lost.parent, lost.process, lost.failed) == (post.id, "worker", True)
    first, second = (traced.one(trace, "job.claim", attempt=attempt) for attempt in (1, 2))
    assert first.parent == second.parent == post.id
    assert first.ended <= lost.began <= second.ended
    traced.one(trace, "job.publish")
    steps = [span for span in traced.of(trace) if span.name == "job.steps"]
    assert {span.parent for span in steps} == {first.id, second.id}
    assert max(span.attributes["tunery.steps.last"] for span in steps) == 100
    resumed = [span for span in traced.of(trace) if (span.name, span.parent) == ("job.attach", second.id)]
    assert resumed[0].attributes["tunery.step"] > 0


@pytest.mark.exhaustive
def test_jobs_that_train_together_refer_to_a_span_of_their_cohort(traced: Traced) -> None:
    traces = "5" * 32, "6" * 32
    jobs = [
        traced.ask_for_job(trace, rows=400, epochs=50) for trace in traces
    ]  # they do not end by themselves
    for job_id in jobs:
        traced.stack.wait_for_step(job_id)
    for job_id in jobs:
        assert traced.http.post(f"/v1/fine_tuning/jobs/{job_id}/cancel").status_code == 200
    for trace in traces:
        assert traced.one(trace, "job.lease_lost").parent == traced.one(trace, "job.claim").id
    claims = {(trace, traced.one(trace, "job.claim").id) for trace in traces}
    cohorts = [span for span in traced.collector.wait_for("cohort.rounds") if set(span.links) == claims]
    assert cohorts
    for trace in traces:
        steps = [span for span in traced.of(trace) if span.name == "job.steps"]
        links = [link for span in steps for link in span.links]
        assert set(links) >= {(cohort.trace, cohort.id) for cohort in cohorts}


def test_a_chat_is_one_trace_to_its_last_token(traced: Traced, job_id: str) -> None:
    trace = "2" * 32
    model = traced.stack.job(job_id).fine_tuned_model
    body = {"model": model, "messages": [{"role": "user", "content": "Reverse 123."}], "max_tokens": 5}
    headers = {"traceparent": f"00-{trace}-{SPAN}-01"}
    answer = traced.http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    usage = answer.json()["usage"]
    seen = {
        name: traced.one(trace, name)
        for name in ("chat.permit", "chat.dispatch", "chat.base", "chat.adapter", "chat.render")
    }
    at_api, at_server = sorted(
        wait_for(lambda: _two(traced.collector.named("POST /v1/chat/completions"), trace), 30),
        key=lambda span: str(span.process),
    )
    prompt, decode = traced.one(trace, "chat.prompt"), traced.one(trace, "chat.decode")
    assert (at_api.process, at_api.parent) == ("api", SPAN)
    assert (at_server.process, at_server.parent) == ("server", seen["chat.dispatch"].id)
    assert (seen["chat.dispatch"].parent, seen["chat.dispatch"].kind) == (at_api.id, CLIENT)
    assert seen["chat.permit"].parent == at_api.id
    for part in ("chat.base", "chat.adapter", "chat.render"):
        assert seen[part].parent == at_server.id
    assert prompt.parent == decode.parent == at_server.id
    assert "adapter_is_loaded" in seen["chat.adapter"].events
    assert "first_token" in at_server.events
    assert "first_byte" in at_api.events
    assert at_server.attributes["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert at_server.attributes["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    first_token = at_server.attributes["tunery.time_to_first_token_seconds"]
    assert at_server.attributes["gen_ai.operation.name"] == "chat"
    counting = [span for span in traced.of(trace) if any(".usage." in name for name in span.attributes)]
    assert counting == [at_server], "viewers add tokens up"
    assert first_token == pytest.approx((prompt.ended - at_server.began) / 1e9, abs=0.5)
    assert at_server.began <= prompt.began <= prompt.ended <= decode.ended <= at_server.ended
    written = [line for line in traced.lines("serve") if line.get("trace_id") == trace]
    assert [line["span_id"] for line in written if line["event"] == "answered"] == [at_server.id]


def _two(spans: list[Seen], trace: str) -> list[Seen] | None:
    found = [span for span in spans if span.trace == trace]
    return found if len(found) == 2 else None


@pytest.mark.exhaustive
def test_work_beside_the_training_goes_on_with_the_trace_of_its_request(traced: Traced, job_id: str) -> None:
    adapter = traced.stack.adapters(job_id)[0].id
    trace = "3" * 32
    headers = {"traceparent": f"00-{trace}-{SPAN}-01"}
    asked = traced.http.post(f"/v1/adapters/{adapter}/exports", json={"format": "merged"}, headers=headers)
    assert asked.status_code == 200, asked.text
    done = traced.one(trace, "task.export")
    post = traced.one(trace, "POST /v1/adapters/{adapter_id}/exports")
    assert (done.process, done.parent) == ("task", post.id)
    assert traced.one(trace, "store.upload").parent == done.id


def test_the_log_and_each_answer_name_the_trace(traced: Traced, job_id: str) -> None:
    answer = traced.http.get("/v1/fine_tuning/jobs/ftjob-nowhere")
    assert answer.status_code == 404
    trace, request = answer.headers["x-trace-id"], answer.headers["x-request-id"]
    span = traced.one(trace, "GET /v1/fine_tuning/jobs/{fine_tuning_job_id}")
    assert span.attributes["http.response.status_code"] == 404
    (line,) = [line for line in traced.lines("api") if line.get("request_id") == request]
    assert (line["trace_id"], line["span_id"]) == (trace, span.id)
    at_worker = {line["event"] for line in traced.lines("worker-1") if line.get("trace_id") == TRACE}
    assert "webhook_sent" in at_worker


def test_what_no_client_asks_for_is_no_trace(traced: Traced) -> None:
    for path in ("/healthz", "/readyz"):
        assert "x-trace-id" not in httpx.get(f"{traced.http.base_url}{path}").headers
    roots = {span.name for span in traced.collector.seen if not span.parent}
    assert not [name for name in roots if name.startswith(("store.", "chat.", "hint.", "GET /readyz"))]


def test_a_client_that_keeps_no_trace_gets_none(traced: Traced) -> None:
    headers = {"traceparent": f"00-{'4' * 32}-{SPAN}-00"}
    assert "x-trace-id" not in traced.http.get("/v1/models", headers=headers).headers
    assert "x-trace-id" in traced.http.get("/v1/models").headers
    assert not traced.of("4" * 32)


@pytest.mark.exhaustive
def test_an_api_that_is_stopped_sends_its_last_spans(
    module_servers: EmbeddedServers, job_api: Api, tmp_path: Path
) -> None:
    with collecting() as collector, stack_on(module_servers, job_api, tmp_path) as stack:
        url = stack.start_api({**collector.environment, "OTEL_BSP_SCHEDULE_DELAY": "600000"})
        trace = httpx.get(f"{url}/v1/models").headers["x-trace-id"]
        assert not collector.seen, "the queue waits for ten minutes"
        (process,) = stack.servers_started
        process.terminate()
        process.wait(EXIT_SECONDS)
        assert trace in {span.trace for span in collector.seen}


@pytest.mark.exhaustive
@pytest.mark.parametrize("collector", ["refuses connections", "never answers"])
def test_a_collector_that_is_away_costs_a_request_nothing(
    module_servers: EmbeddedServers, job_api: Api, tmp_path: Path, collector: str
) -> None:
    with ExitStack() as held:
        silent = held.enter_context(silent_collector())
        if collector == "refuses connections":
            held.close()
        stack = held.enter_context(stack_on(module_servers, job_api, tmp_path))
        queue = {"OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
        url = stack.start_api({**silent.environment, **queue, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"})
        with httpx.Client(base_url=url, timeout=30) as http:
            slowest = max(_seconds_of(http) for _ in range(100))
        assert slowest < 1, "a request waited for the collector"
        log = tmp_path / "api.log"
        wait_for(lambda: "traces_not_sent" in log.read_text(), 30)
        (process,) = stack.servers_started
        process.terminate()
        process.wait(EXIT_SECONDS)
        written = log.read_text()
        assert written.count("traces_not_sent") == 1
        assert "the collector does not take them: Failed to export" in written
        assert "Queue full" not in written
        assert "opentelemetry" not in written


def _seconds_of(http: httpx.Client) -> float:
    began = time.monotonic()
    assert http.get("/v1/models").status_code == 401
    return time.monotonic() - began


@pytest.mark.exhaustive
def test_a_collector_that_never_answers_costs_a_job_nothing(
    module_servers: EmbeddedServers, job_api: Api, tmp_path: Path
) -> None:
    with silent_collector() as silent, stack_on(module_servers, job_api, tmp_path) as stack:
        worker = stack.start_worker(silent.environment)
        job_id = stack.create_job(model=TINY)
        stack.assert_succeeded_exactly_once(job_id, tmp_path)
        worker.stop(60)
        assert stack.log().count("traces_not_sent") <= 2  # of the worker and of its trainer
        assert "Traceback" not in stack.log()
