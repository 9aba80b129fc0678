"""A job's loads are shipped in their order, while the training thread goes on, until the job leaves."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.trainer.save.shipping import Shipping

SECONDS = 120


class Loads:
    """Loads that say when they begin, and end only when a test lets them."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.bell = threading.Event()
        self.shipping = Shipping(pool, ended=self.bell.set)
        self.begun: list[str] = []
        self.began = threading.Event()
        self.go = threading.Event()

    def send(self, name: str, error: Exception | None = None) -> None:
        def load() -> None:
            self.begun.append(name)
            self.began.set()
            assert self.go.wait(SECONDS)
            if error:
                raise error

        self.shipping.send(load)


@pytest.fixture
def loads() -> Iterator[Loads]:
    with ThreadPoolExecutor(2) as pool:
        loads = Loads(pool)
        yield loads
        loads.go.set()


def test_loads_arrive_one_after_another_and_ring_the_bell(loads: Loads) -> None:
    assert loads.shipping.arrived()
    for name in ("checkpoint", "adapter"):
        loads.send(name)
    assert loads.began.wait(SECONDS)
    assert (loads.begun, loads.bell.is_set()) == (["checkpoint"], False)
    assert loads.shipping.under_way
    assert not loads.shipping.arrived()
    loads.go.set()
    assert loads.bell.wait(SECONDS)
    loads.shipping.wait()
    assert loads.begun == ["checkpoint", "adapter"]
    assert loads.shipping.arrived()


def test_what_follows_a_load_that_failed_does_not_begin_and_whoever_looks_hears_why(loads: Loads) -> None:
    loads.send("checkpoint", ConnectionError("the store is away"))
    loads.send("adapter")
    loads.go.set()
    with pytest.raises(ConnectionError, match="away"):
        loads.shipping.wait()
    assert loads.begun == ["checkpoint"]
    with pytest.raises(ConnectionError, match="away"):
        loads.shipping.arrived()


def test_once_the_job_has_left_its_files_go_when_nothing_reads_them_any_more(loads: Loads) -> None:
    cleaned = threading.Event()
    for name in ("checkpoint", "adapter"):
        loads.send(name)
    assert loads.began.wait(SECONDS)
    loads.shipping.abandon(then=cleaned.set)
    assert not cleaned.is_set()
    loads.go.set()
    assert cleaned.wait(SECONDS)
    assert loads.begun == ["checkpoint"]


def test_the_files_of_a_job_that_leaves_with_nothing_under_way_go_at_once(loads: Loads) -> None:
    cleaned = threading.Event()
    loads.shipping.abandon(then=cleaned.set)
    assert cleaned.is_set()
