"""A periodic thread goes on when its call raises, and ends when it is stopped."""

import threading
import time
from itertools import pairwise

import pytest
from sqlalchemy.exc import SQLAlchemyError
from structlog.testing import capture_logs

from tests.fixtures.service.api import wait_for
from worker.process.periodic import REST, Periodic


@pytest.mark.parametrize(
    ("error", "logged"),
    [(SQLAlchemyError("away"), ("tick_failed", "warning")), (KeyError("bug"), ("tick_broke", "error"))],
    ids=["database", "bug"],
)
def test_a_call_that_fails_is_logged_and_followed_by_the_next(
    error: Exception, logged: tuple[str, str]
) -> None:
    calls: list[float] = []

    def fail() -> None:
        calls.append(time.monotonic())
        raise error

    periodic = Periodic("failing", 0.01, fail)
    with capture_logs() as logs:
        periodic.start()
        wait_for(lambda: len(calls) >= 3)
        periodic.stop()
        periodic.join()
    found = {(entry["event"], entry["log_level"], entry["thread"]) for entry in logs}
    assert found == {(*logged, "failing")}


@pytest.mark.parametrize("most_seconds", [60.0, 0.05])
def test_a_slow_call_is_followed_by_a_longer_rest_up_to_a_bound(most_seconds: float) -> None:
    took, calls = 0.05, list[float]()

    def work() -> None:
        time.sleep(took)
        calls.append(time.monotonic())

    periodic = Periodic("working", 0.01, work, most_seconds)
    periodic.start()
    wait_for(lambda: len(calls) >= 4)
    periodic.stop()
    rests = [later - before - took for before, later in pairwise(calls)]
    assert (min(rests) >= REST * took) is (most_seconds > REST * took)


def test_stop_returns_at_once_and_the_call_under_way_is_the_last() -> None:
    calls: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        calls.append(1)
        begun.set()
        go_on.wait(120)

    periodic = Periodic("slow", 0.01, wait)
    periodic.start()
    assert begun.wait(120)
    periodic.stop()
    go_on.set()
    periodic.join(120)
    assert not any(thread.name == "slow" for thread in threading.enumerate())
    assert len(calls) == 1


def test_stop_does_not_wait_for_the_next_call() -> None:
    periodic = Periodic("seldom", 600, lambda: None)
    periodic.start()
    periodic.stop()
    periodic.join(120)
    assert not any(thread.name == "seldom" for thread in threading.enumerate())
