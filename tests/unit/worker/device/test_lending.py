"""A trainer's base model, lent to the server in its process and asked back."""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch

from core.catalog import BaseModelEntry, Precision, load_catalog
from core.errors import Unavailable
from core.jobs.spec import TrainingOptions
from core.settings import Settings
from tests.fixtures.engine.training import make_spec
from tests.fixtures.models.tiny import OTHER, TINY, write_base
from tests.fixtures.service.api import wait_for
from worker.base_models.telling import Tell, untold
from worker.device.lending import Lending
from worker.device.load_progress import LoadProgress
from worker.device.model_holder import FoundModel, ModelHolder
from worker.device.time_slices import TimeSlices
from worker.engine.base.base_model import ResidentBase


class WatchedHolder(ModelHolder):
    """A holder that calls a test before it finds, loads or holds a base model."""

    on_find: Callable[[], object] = staticmethod(lambda: None)
    on_load: Callable[[], object] = staticmethod(lambda: None)
    on_hold: Callable[[], object] = staticmethod(lambda: None)

    def find(self, model_id: str, sharded: bool = False, precision: Precision | None = None) -> FoundModel:
        self.on_find()
        return super().find(model_id, sharded, precision)

    def load(self, found: FoundModel, tell: Tell = untold) -> None:
        self.on_load()
        super().load(found, tell)

    def hold(self, base: ResidentBase) -> None:
        self.on_hold()
        super().hold(base)


class Lender:
    """A trainer's side of lending, with a thread that is the server's."""

    def __init__(self, settings: Settings, pool: ThreadPoolExecutor, **seconds: float) -> None:
        self.slot = WatchedHolder(settings, torch.device("cpu"))
        self.slices, self.asked, self.asked_back = TimeSlices(0.5), Event(), Event()
        self.said_that_it_waits = Event()
        self.lending = Lending(self.slot, self.slices, self.asked.set, self.said_that_it_waits.set, **seconds)
        self._entries = {entry.id: entry for entry in load_catalog(settings.catalog_file)}
        self._pool = pool

    def ask(self, model: str | BaseModelEntry, training: bool) -> "Future[ResidentBase]":
        """Ask for a base model as the server does, and let the trainer answer."""
        entry = self._entries[model] if isinstance(model, str) else model
        got = self._pool.submit(self.lending.get, entry, self.asked_back.set)
        assert self.asked.wait(120)
        self.asked.clear()
        self.lending.answer(training)
        return got


@pytest.fixture
def seconds() -> dict[str, float]:
    """Return the times of lending; none of them but the usual ones."""
    return {}


@pytest.fixture
def lender(tmp_path: Path, seconds: dict[str, float]) -> Iterator[Lender]:
    with ThreadPoolExecutor() as pool:
        yield Lender(Settings(catalog_file=write_base(tmp_path), home=tmp_path), pool, **seconds)


def test_what_is_lent_is_the_resident_base_model_itself(lender: Lender) -> None:
    base = lender.ask(TINY, training=False).result(120)
    assert base is lender.slot.base
    lender.lending.give_back()
    assert lender.ask(TINY, training=True).result(120) is base, "jobs train on it, and it is lent again"


def test_another_base_model_takes_the_place_only_while_nothing_trains(lender: Lender) -> None:
    lender.ask(TINY, training=False).result(120)
    with pytest.raises(Unavailable) as refused:
        lender.ask(OTHER, training=True).result(120)
    assert refused.value.code == "device_taken"
    assert lender.slot.resident == TINY
    lender.lending.give_back()
    lender.ask(OTHER, training=False).result(120)
    assert lender.slot.resident == OTHER


def test_the_base_model_before_has_left_the_memory_when_the_next_one_is_loaded(lender: Lender) -> None:
    before = weakref.ref(lender.ask(TINY, training=False).result(120))
    lender.lending.give_back()
    left: list[bool] = []
    lender.slot.on_hold = lambda: left.append(before() is None)
    assert lender.ask(OTHER, training=False).result(120).entry.id == OTHER
    assert left == [True]


@pytest.mark.parametrize("seconds", [{"say_seconds": 0.01}])
def test_a_trainer_that_loads_what_a_chat_wants_says_that_jobs_have_to_wait(lender: Lender) -> None:
    def wait() -> None:
        for _ in range(3):
            assert lender.said_that_it_waits.wait(10)
            lender.said_that_it_waits.clear()

    lender.slot.on_load = wait
    lender.ask(TINY, training=False).result(120)
    wait_for(lambda: not any(thread.name == "loading" for thread in threading.enumerate()), 10)


@pytest.mark.parametrize("seconds", [{"say_seconds": 0.01, "most_still_seconds": 0.2}])
def test_a_trainer_whose_load_hangs_stops_saying_that_jobs_have_to_wait(lender: Lender) -> None:
    gives_up_at = time.monotonic() + 20

    def hang() -> None:
        while lender.said_that_it_waits.wait(0.5):
            assert time.monotonic() < gives_up_at, "it says so without an end"
            lender.said_that_it_waits.clear()
            time.sleep(0.01)

    lender.slot.on_load = hang
    lender.ask(TINY, training=False).result(120)


@pytest.mark.parametrize("seconds", [{"say_seconds": 0.01, "most_still_seconds": 0.2}])
def test_a_trainer_whose_load_moves_on_says_that_jobs_have_to_wait_however_long_it_takes(
    lender: Lender,
) -> None:
    def read_slowly() -> None:
        lender.slot.loading = progress = LoadProgress(TINY)
        late = time.monotonic() + 0.5

        def said_late() -> bool:
            progress(1, 2)
            if time.monotonic() < late:
                lender.said_that_it_waits.clear()
            return lender.said_that_it_waits.is_set()

        wait_for(said_late, 20)

    lender.slot.on_load = read_slowly
    lender.ask(TINY, training=False).result(120)


def test_what_waits_for_the_files_of_a_base_model_hears_so(lender: Lender) -> None:
    heard: list[str] = []
    lender.slot.on_find = lambda: heard.append(str(lender.lending.loading))
    lender.ask(TINY, training=False).result(120)
    assert (heard, lender.lending.loading) == (["its files are looked for"], None)


def test_a_base_model_in_another_precision_is_another_one(lender: Lender) -> None:
    published = lender.ask(TINY, training=False).result(120)
    quantised = published.entry.in_precision("int8")
    lender.lending.give_back()
    with pytest.raises(Unavailable, match=f"{TINY} in int8") as refused:
        lender.ask(quantised, training=True).result(120)
    assert refused.value.code == "device_taken"
    base = lender.ask(quantised, training=False).result(120)
    assert base.entry == quantised
    assert lender.slot.resident == TINY


@pytest.mark.parametrize("precision", [None, "none", "nf4"])
def test_jobs_of_one_precision_train_together(lender: Lender, precision: Any) -> None:
    lender.slot.load(lender.slot.find(TINY, precision=precision))
    for asked in (None, "none", "nf4", "int8"):
        spec = make_spec(base_model=TINY, training=TrainingOptions(quantization=asked))
        assert lender.slot.holds(spec) == ((asked or "none") == (precision or "none"))


def test_the_trainer_waits_for_its_base_model_and_lets_the_last_answers_be_computed(lender: Lender) -> None:
    with ThreadPoolExecutor() as pool, lender.slices.held():
        lender.ask(TINY, training=False).result(120)
        reclaimed = pool.submit(lender.lending.reclaim)
        assert lender.asked_back.wait(120)
        with lender.slices.slice():
            assert not reclaimed.done()
        lender.lending.give_back()
        reclaimed.result(120)


def test_what_was_given_back_is_not_asked_for(lender: Lender) -> None:
    lender.lending.reclaim()
    lender.ask(TINY, training=False).result(120)
    lender.lending.give_back()
    lender.lending.reclaim()
    assert not lender.asked_back.is_set()
