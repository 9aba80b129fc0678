"""The processes in which graders run: what a client gets if a run does not end, and what others notice."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest

from tests.fixtures.processes.processes import named
from tests.fixtures.service.api import Api, Tenant, refusal, wait_for
from tests.fixtures.work.evals_api import CHECK

URL = "/v1/fine_tuning/alpha/graders/run"
SAMPLE = {"grader": CHECK, "model_sample": "x", "item": {"answer": "x"}}


@pytest.fixture
def other(api: Api) -> Iterator[Api]:
    """Yield an API that has run no grader yet."""
    with api.beside() as other:
        yield other


def grader_processes() -> list[psutil.Process]:
    return named("anyio.to_process", psutil.Process().children())


def run_on(api: Api, tenant: Tenant) -> httpx.Response:
    return tenant.http.post(f"{api.url}{URL}", json=SAMPLE)


def suspended(api: Api, tenant: Tenant) -> psutil.Process:
    """Start the API's grader process, and stop it as if its next run never ended."""
    assert run_on(api, tenant).json()["reward"] == 1
    (process,) = grader_processes()
    process.suspend()
    return process


def busy(api: Api) -> bool:
    return bool(api.app.state.grader_processes.apart.running)


def test_no_process_starts_before_a_grader_is_run(other: Api, alice: Tenant) -> None:
    assert alice.http.get(f"{other.url}/v1/models").is_success
    assert grader_processes() == []
    assert run_on(other, alice).json()["reward"] == 1
    assert run_on(other, alice).json()["reward"] == 1
    assert len(grader_processes()) == 1


def test_a_run_that_takes_too_long_is_stopped_and_holds_up_nobody(other: Api, alice: Tenant) -> None:
    process = suspended(other, alice)
    other.app.state.grader_processes.seconds = 1.0
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(run_on, other, alice)
        wait_for(lambda: busy(other))
        assert alice.http.get(f"{other.url}/v1/files").is_success
        assert not answer.done()
        error = refusal(answer.result(), 503, None, "grader_timeout")
    assert "stopped after 1 seconds" in error["message"]
    assert not process.is_running()
    other.app.state.grader_processes.seconds = 20.0
    assert run_on(other, alice).json()["reward"] == 1


def test_a_process_that_dies_costs_one_answer(other: Api, alice: Tenant) -> None:
    process = suspended(other, alice)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(run_on, other, alice)
        wait_for(lambda: busy(other))
        process.kill()
        refusal(answer.result(), 503, None, "grader_process_died")
    assert run_on(other, alice).json()["reward"] == 1


def test_the_api_stops_without_waiting_for_a_run(other: Api, alice: Tenant) -> None:
    process = suspended(other, alice)
    with ThreadPoolExecutor() as threads:
        answers: list[Future[httpx.Response]] = [threads.submit(run_on, other, alice) for _ in range(2)]
        wait_for(lambda: busy(other))
        began = time.monotonic()
        other.stop()
        assert time.monotonic() - began < 30
        for answer in answers:
            refusal(answer.result(), 503, None, "unavailable")
    wait_for(lambda: not process.is_running() and grader_processes() == [])


def test_a_process_has_little_memory_and_none_of_the_secrets() -> None:
    code = """
import os
from core.graders import grader_process
from core.errors import InvalidRequest
from core.graders.python.sandbox import Sandbox
grader_process.prepared(Sandbox())
assert not os.environ, os.environ
def takes_much(*_): return bytearray(2 * grader_process.MEMORY)
grader_process.grade = takes_much
try:
    grader_process.grade_apart(None, None, "", {}, Sandbox())
except InvalidRequest as error:
    print(error.code)
"""
    environment = {**os.environ, "TUNERY_SECRET_KEYS": "secret"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "grader_out_of_memory", done.stderr


@pytest.mark.parametrize("metric", ["bleu", "fuzzy_match"])
def test_the_work_of_one_request_is_bounded_in_all(alice: Tenant, metric: str) -> None:
    """Each text by itself is short enough."""
    similar = {**CHECK, "type": "text_similarity", "evaluation_metric": metric}
    del similar["operation"]
    grader: dict[str, Any] = {
        "type": "multi",
        "name": "all",
        "graders": {f"g{number}": {**similar, "name": f"g{number}"} for number in range(24)},
        "calculate_output": "g1",
    }
    body = {"grader": grader, "model_sample": "🙂" * 60_000, "item": {"answer": "🙃" * 60_000}}
    began = time.monotonic()
    error = refusal(alice.http.post(URL, json=body), 400, "grader", "texts_too_long")
    assert "more than 262144 characters in all" in error["message"]
    assert time.monotonic() - began < 30
