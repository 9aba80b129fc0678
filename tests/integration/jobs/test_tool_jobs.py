"""Jobs with reinforcement whose answers call tools: from the request to what the endpoints are sent."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from cli.embedded import EmbeddedServers
from faults.serving import serving
from tests.fixtures.models.calling import TOOL, write_calling_base
from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.resting import resting
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.service.trainer import job_of, running

JOBS = "/v1/fine_tuning/jobs"
CLOCK = {
    "type": "function",
    "function": {
        "name": TOOL,
        "description": "Tell the time.",
        "parameters": {"type": "object", "properties": {"zone": {"type": "integer"}}},
    },
}
LIKES_CALLS = {
    "type": "python",
    "name": "likes_calls",
    "source": """
def grade(sample, item):
    calls = [call for call in sample["output_tools"] if call["function"]["name"] == item["wanted"]]
    return min(1.0, len(calls) / 6)
""",
}


@dataclass
class Clock:
    """An endpoint that tells the time."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: Callable[[int], int] = lambda _: 200
    """Takes the number of the request, from 1"""
    released: threading.Event = field(default_factory=threading.Event)
    """Requests wait for it"""


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock, lock = Clock(), threading.Lock()
    clock.released.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                clock.asked.append(asked)
                clock.headers.append({name.lower(): value for name, value in self.headers.items()})
                status = clock.status(len(clock.asked))
            clock.released.wait()
            output = {"type": "function_call_output", "call_id": asked["call_id"], "output": "noon"}
            body = json.dumps(output).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as clock.url:
        yield clock
        clock.released.set()


@pytest.fixture(scope="module")
def calling_api(
    servers: EmbeddedServers, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    folder: Path = tmp_path_factory.mktemp("base")
    with job_api_on(servers, database_url, catalog_file=write_calling_base(folder)) as api:
        yield api


def prompts(count: int) -> bytes:
    rows = [
        {
            "messages": [{"role": "user", "content": f"What time is it, {line}?"}],
            "tools": [CLOCK],
            "wanted": TOOL,
        }
        for line in range(count)
    ]
    return "\n".join(map(json.dumps, rows)).encode()


def create(tenant: Tenant, tools: list[dict[str, Any]] | None, **options: Any) -> str:
    hyperparameters = {
        "n_epochs": 3,
        "batch_size": 4,
        "num_generations": 8,
        "max_completion_tokens": 160,
        "eval_interval": 4,
        "eval_samples": 4,
        "mask_truncated": False,
        "learning_rate_multiplier": 1,
    }
    method = {"grader": LIKES_CALLS, "max_episode_steps": 3, "hyperparameters": hyperparameters, **options}
    if tools is not None:
        method["tools"] = tools
    job = tenant.create_job(
        model=TINY,
        training_file=tenant.upload(prompts(16)),
        validation_file=tenant.upload(prompts(6)),
        method={"type": "reinforcement", "reinforcement": method},
        training={"learning_rate": 2e-2, "lr_scheduler_type": "constant", "warmup_ratio": 0},
        seed=3,
    )
    return str(job["id"])


def finished(api: Api, tenant: Tenant, job_id: str) -> list[dict[str, Any]]:
    """Let a job end, and return its metrics."""
    with running(api):
        wait_for(lambda: job_of(api, job_id).status not in ("queued", "running"), 240)
    job = job_of(api, job_id)
    assert job.status == "succeeded", job.error
    found = tenant.http.get(f"{JOBS}/{job_id}/metrics", params={"after_step": -1}).json()
    return list(found["data"])


def gaps(series: list[dict[str, Any]]) -> set[float]:
    """Return the largest gap of each step that had something to learn."""
    return {point["policy_gap_max"] for point in series if "policy_gap_max" in point}


def test_answers_go_on_with_what_tools_return_and_only_what_the_model_wrote_is_learnt(
    calling_api: Api, clock: Clock
) -> None:
    tenant = calling_api.tenant()
    tool = {"name": TOOL, "server_url": f"{clock.url}/time", "headers": {"x-team": "blue"}}
    job_id = create(tenant, [tool])
    series = finished(calling_api, tenant, job_id)
    steps = series[1:]
    assert gaps(series) == {0.0}, "both compute the same in fp32"
    assert all(point["tool_calls_mean"] > 0 for point in steps)
    assert {point["tool_error_mean"] for point in steps} == {0.0}
    assert all(point["timing"]["step"]["tools"] > 0 for point in steps)
    rewards = [point["full_valid_mean_reward"] for point in series if "full_valid_mean_reward" in point]
    assert len(rewards) > 2, "evaluations call tools too"
    assert min(rewards) > 0

    first = clock.asked[0]
    assert (first["type"], first["name"], first["id"]) == ("function_call", TOOL, first["call_id"])
    assert first["item"]["wanted"] == TOOL
    assert isinstance(json.loads(first["arguments"])["zone"], int)
    assert clock.headers[0]["x-team"] == "blue"
    by_answer: dict[str, int] = {}
    for asked in clock.asked:
        by_answer[asked["trace_id"]] = by_answer.get(asked["trace_id"], 0) + 1
    assert max(by_answer.values()) > 1, "all calls of an answer have one trace id"

    (run, *_) = tenant.openai.evals.runs.list(tenant.job(job_id)["eval_id"])
    items = tenant.openai.evals.runs.output_items.list(run.id, eval_id=run.eval_id)
    outputs = [item.sample.output for item in items]
    with_tools = next(output for output in outputs if len(output) > 1)
    assert [message.role for message in with_tools[:2]] == ["assistant", "tool"]
    assert with_tools[1].content == "noon"


def test_a_call_that_nobody_answers_is_graded(calling_api: Api) -> None:
    tenant = calling_api.tenant()
    series = finished(calling_api, tenant, create(tenant, None))
    assert gaps(series) == {0.0}
    assert max(point["train_mean_reward"] for point in series[1:]) > 0


def test_an_answer_whose_tool_fails_is_taken_out_of_its_group(calling_api: Api, clock: Clock) -> None:
    clock.status = lambda number: 422 if number % 2 else 404
    tenant = calling_api.tenant()
    series = finished(calling_api, tenant, create(tenant, [{"name": TOOL, "server_url": clock.url}]))
    assert all(0 < point["tool_error_mean"] < 1 for point in series[1:])
    graders = [point["errors"]["graders"][0] for point in series[1:]]
    assert {grader["train_grader_error_mean"] for grader in graders} == {0.0}, "it is not the grader's fault"


def test_what_a_failing_tool_leaves_behind_has_no_header_in_clear(
    calling_api: Api, clock: Clock, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for of_requests in ("httpx", "httpcore"):  # the others say much, and see no header of a tool
        caplog.set_level(logging.DEBUG, of_requests)
    value = "Bearer c4nary-0f-the-clock"
    clock.status = lambda _: 401
    tenant = calling_api.tenant()
    tool = {"name": TOOL, "server_url": clock.url, "headers": {"authorization": value}}
    few = {"n_epochs": 3, "batch_size": 2, "num_generations": 2, "eval_interval": 20, "eval_samples": 4}
    job_id = create(tenant, [tool], hyperparameters={**few, "max_completion_tokens": 20})
    with running(calling_api):
        wait_for(lambda: job_of(calling_api, job_id).status == "failed", 120)
    assert clock.headers[0]["authorization"] == value
    job = tenant.job(job_id)
    (run, *_) = tenant.openai.evals.runs.list(job["eval_id"])
    path = f"/v1/evals/{run.eval_id}/runs/{run.id}/output_items"
    records = tenant.http.get(path, params={"limit": 100}).text
    assert "The tool 'clock' gave no output: it answered 401" in records
    events = json.dumps(tenant.events(job_id))
    shown = [
        job,
        job_of(calling_api, job_id).error,
        events,
        records,
        *capfd.readouterr(),
        caplog.text,
    ]
    assert not any(value in str(each) for each in shown)


@pytest.mark.exhaustive
def test_a_job_that_is_resumed_makes_the_same_calls_and_learns_the_same(
    calling_api: Api, clock: Clock
) -> None:
    tenant = calling_api.tenant()
    tools = [{"name": TOOL, "server_url": clock.url}]
    told = ("train_loss", "train_mean_reward", "tool_calls_mean", "full_valid_mean_reward")
    expected = finished(calling_api, tenant, create(tenant, tools))
    whole = sorted(asked["call_id"] for asked in clock.asked)
    clock.asked.clear()
    resumed = create(tenant, tools)
    with resting(0.2), running(calling_api):
        wait_for(lambda: tenant.job(resumed)["progress"]["step"] >= 3, 240)
    found = finished(calling_api, tenant, resumed)
    assert [{name: point.get(name) for name in told} for point in found] == [
        {name: point.get(name) for name in told} for point in expected
    ]
    assert {*whole} == {asked["call_id"] for asked in clock.asked}


def test_a_job_that_waits_for_a_tool_can_be_cancelled(calling_api: Api, clock: Clock) -> None:
    clock.released.clear()
    tenant = calling_api.tenant()
    job_id = create(tenant, [{"name": TOOL, "server_url": clock.url}])
    with running(calling_api):
        wait_for(lambda: clock.asked, 120)
        tenant.http.post(f"{JOBS}/{job_id}/cancel").raise_for_status()
        wait_for(lambda: job_of(calling_api, job_id).status == "cancelled", 30)


def test_a_job_that_waits_for_a_tool_can_be_paused(calling_api: Api, clock: Clock) -> None:
    clock.released.clear()
    tenant = calling_api.tenant()
    job_id = create(tenant, [{"name": TOOL, "server_url": clock.url}])
    with running(calling_api):
        wait_for(lambda: clock.asked, 120)
        tenant.http.post(f"{JOBS}/{job_id}/pause").raise_for_status()
        wait_for(lambda: job_of(calling_api, job_id).status == "paused", 30)
