"""A line between the service and its broker that is reset, slow, half closed or silent.

For jobs the broker carries nothing but hints, so nothing waits for it and no job is late by more than a scan.
Hints may come often, too early and in any order: each job is trained once.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.embedded import EmbeddedServers
from core.jobs.dispatch import HintSender, create_celery
from faults.checker import Client, check
from faults.relay import Relay
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.stack import JOB_SECONDS, Stack

SCAN_SECONDS = 1.0
START_SECONDS = 60.0  # a busy machine needs some; a worker that waits for the broker would need minutes
ANSWER_SECONDS = 30.0  # for one request, on a busy machine
PATIENCE = 10 * ANSWER_SECONDS  # of the broker's client: a request that waits for it is late beyond doubt
HINTS = 10  # at once
AT_ONCE, JOBS_EACH = 12, 6  # together more than the API has threads


@pytest.fixture(scope="module")
def line(servers: EmbeddedServers) -> Iterator[Relay]:
    with Relay.to(servers.urls["broker_url"]) as line:
        yield line


@pytest.fixture(scope="module")
def settings(line: Relay) -> dict[str, str]:
    return {"broker_url": line.url}


@contextmanager
def again_and_again(act: Callable[[], None]) -> Iterator[None]:
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(0.1):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def slow(line: Relay) -> Iterator[None]:
    line.delay = 0.5
    yield
    line.delay = 0.0


@contextmanager
def silent(line: Relay) -> Iterator[None]:
    line.silent = True
    yield
    line.silent = False


FAULTS = {
    "reset": lambda line: again_and_again(line.reset),
    "half closed": lambda line: again_and_again(line.half_close),
    "slow": slow,
    "silent": silent,
}


@pytest.mark.exhaustive
def test_a_job_starts_within_a_scan_while_the_line_to_the_broker_is_broken(stack: Stack, line: Relay) -> None:
    stack.start_worker(scan_seconds=str(SCAN_SECONDS))
    first = stack.create_job(rows=12, epochs=1, model=TINY)
    stack.wait_for_status(first, "succeeded")
    for fault in FAULTS.values():
        with fault(line):
            job_id = stack.create_job(rows=12, epochs=1, model=TINY)
            wait_for(lambda job_id=job_id: stack.claims(job_id), START_SECONDS)  # type: ignore[misc]
            stack.wait_for_status(job_id, "succeeded")


@pytest.mark.exhaustive
def test_hints_wake_workers_however_often_and_again_once_the_line_to_the_broker_is_mended(
    stack: Stack, line: Relay, tmp_path: Path
) -> None:
    """The workers never scan here, so that only hints wake them. Hints also come before there is a job."""
    hint_sender = stack.api.app.state.hint_sender

    def hint() -> None:
        for _ in range(HINTS):
            hint_sender.send(1)

    hint()
    for _ in range(2):
        stack.start_worker(scan_seconds="1000", lease_seconds="60")  # which no busy machine loses
    client = Client(stack.tenant)
    for _ in range(3):
        client.jobs.add(stack.create_job(rows=12, epochs=2, model=TINY))
        hint()
    for job_id in client.jobs:
        stack.assert_succeeded_exactly_once(job_id, tmp_path)
    for name in ("half closed", "silent"):
        with FAULTS[name](line):
            hint_sender.send(1)  # also this message must not break the next ones
        job_id = stack.create_job(rows=12, epochs=1, model=TINY)
        client.jobs.add(job_id)

        def is_woken(job_id: str = job_id) -> bool:
            hint_sender.send(1)
            return bool(stack.claims(job_id))

        wait_for(is_woken, JOB_SECONDS)
        stack.wait_for_status(job_id, "succeeded")
    assert [len(stack.claims(job_id)) for job_id in client.jobs] == [1] * len(client.jobs)
    check(stack.api, [client])


@pytest.mark.exhaustive
def test_a_silent_broker_holds_up_no_request(
    stack: Stack, line: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    celery = create_celery(line.url)
    celery.conf.broker_transport_options |= {"socket_timeout": PATIENCE}
    monkeypatch.setattr(stack.api.app.state, "hint_sender", HintSender(celery))
    longest: list[float] = []
    file = stack.tenant.upload()

    def create() -> None:
        for _ in range(JOBS_EACH):
            began = time.monotonic()
            stack.tenant.create_job(model=TINY, training_file=file)
            longest.append(time.monotonic() - began)

    with silent(line):
        clients = [threading.Thread(target=create) for _ in range(AT_ONCE)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    line.reset()  # the senders would wait on
    assert len(longest) == AT_ONCE * JOBS_EACH
    assert max(longest) < ANSWER_SECONDS
