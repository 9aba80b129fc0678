"""Lends a trainer's resident base model to the server in the same process, so that it is in memory once."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event
from time import monotonic

import structlog
import torch

from core.catalog import BaseModelEntry
from core.errors import Unavailable
from worker.device.load_progress import LoadProgress
from worker.device.model_holder import FoundModel, ModelHolder
from worker.device.time_slices import TimeSlices
from worker.engine.base.base_model import ResidentBase
from worker.engine.device.health import device_is_broken
from worker.process import stop_times
from worker.process.periodic import Periodic

BACK_SECONDS = 2.0 * stop_times.STREAMS  # longer than the server takes to end its answers
SAY_SECONDS = 5.0  # much less than the time after which the supervisor takes a trainer for stuck
# A load that moves on no more for so long hangs. The trainer is silent then, so that the supervisor ends it
MOST_STILL_SECONDS = 1800.0

log = structlog.get_logger()


@dataclass(frozen=True)
class _Loan:
    """A base model that the server wants. `asked_back` is called when the trainer needs the room."""

    found: FoundModel
    asked_back: Callable[[], object]
    base: "Future[ResidentBase]" = field(default_factory=Future)


class Lending:
    """One base model at a time: the one that jobs train on, or any one while there is no job.

    Threads of the server call `get`, `give_back` and `undisturbed`. The trainer's thread calls the others.
    """

    def __init__(
        self,
        holder: ModelHolder,
        slices: TimeSlices,
        wake: Callable[[], object],
        say_that_it_waits: Callable[[], object] = lambda: None,
        say_seconds: float = SAY_SECONDS,
        most_still_seconds: float = MOST_STILL_SECONDS,
    ) -> None:
        """`wake` has the trainer call `answer` soon.

        `say_that_it_waits` is called in a thread every `say_seconds` while a base model is loaded, since jobs
        may wait meanwhile; but not once the load has stood still for `most_still_seconds`.
        """
        self._say_seconds, self._most_still_seconds = say_seconds, most_still_seconds
        self.slices = slices
        self._holder, self._wake, self._say_that_it_waits = holder, wake, say_that_it_waits
        self._asked: SimpleQueue[_Loan] = SimpleQueue()
        self._finding: LoadProgress | None = None
        self._lent: _Loan | None = None
        self._returned = Event()

    @property
    def device(self) -> torch.device:
        return self._holder.device

    @property
    def loading(self) -> LoadProgress | None:
        """How far the present load has come. May be read from any thread."""
        return self._holder.loading or self._finding

    def get(self, entry: BaseModelEntry, asked_back: Callable[[], object]) -> ResidentBase:
        """Return the base model, once the trainer has it resident. It stays so until `give_back`.

        `asked_back` is called if a job needs the room: then `give_back` must follow soon. Raises Unavailable
        if jobs train on another base model, and JobError and OutsideFault if it cannot be loaded.
        """
        # Found here, because a download must not hold up the trainer. A wheel may have to be converted
        self._finding = LoadProgress(entry.id)
        try:
            with self.undisturbed() if entry.source == "wheel" else nullcontext():
                loan = _Loan(self._holder.find(entry.id, precision=entry.precision), asked_back)
        finally:
            self._finding = None
        self._asked.put(loan)
        self._wake()
        return loan.base.result()

    def give_back(self) -> None:
        """Say that nothing refers to the base model any more."""
        self._returned.set()

    def undisturbed(self) -> AbstractContextManager[object]:
        """Return the context for work that changes torch's global state. Nobody trains in it."""
        return self.slices.slice()

    def answer(self, training: bool) -> None:
        """Lend what the server asks for, or refuse it if it is not there and jobs train."""
        while not self._asked.empty():
            try:
                self._lend(self._asked.get_nowait(), training)
            except Empty:
                return

    def reclaim(self) -> None:
        """Wait until the server has given back what it has, since another base model takes its place.

        Its answers have some time to end.
        """
        if self._lent is None:
            return
        if not self._returned.is_set():
            self._lent.asked_back()
            with self.slices.released():
                if not self._returned.wait(BACK_SECONDS):
                    log.error("base_model_not_given_back", model=self._lent.found.entry.id)
        self._lent = None

    def _lend(self, loan: _Loan, training: bool) -> None:
        try:
            self._make_resident(loan.found, training)
        except Exception as error:
            loan.base.set_exception(error)
            if device_is_broken(error):
                raise
            return
        self._lent = loan
        self._returned.clear()
        loan.base.set_result(self._holder.base)

    def _make_resident(self, found: FoundModel, training: bool) -> None:
        resident = self._holder.entry
        if resident is not None and resident.computes_like(found.entry):
            return
        if training and resident is not None:
            raise Unavailable(
                f"This server's device trains jobs on {_shown(resident)}. It answers with "
                f"{_shown(found.entry)} when they have ended. Try again then, or choose a model that was "
                f"trained from {_shown(resident)}.",
                code="device_taken",
            )
        self._lent = None  # it refers to the base model that leaves
        began = monotonic()
        saying = Periodic("loading", self._say_seconds, lambda: self._say_unless_it_hangs(began))
        saying.start()
        try:
            self._holder.load(found)
        finally:
            saying.stop()

    def _say_unless_it_hangs(self, began: float) -> None:
        loading = self._holder.loading
        moved_at = loading.moved_at if loading else began
        if monotonic() - moved_at < self._most_still_seconds:
            self._say_that_it_waits()


def _shown(entry: BaseModelEntry) -> str:
    """Return a base model's id, and its precision if it is quantised."""
    return entry.id if entry.quantization is None else f"{entry.id} in {entry.quantization}"
