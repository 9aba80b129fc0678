"""The context of a pass: its base model, its token budget, its processes, and whether to abandon it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from core.estimates.memory_plan import Recompute
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.processes import ALONE, Processes


def never_abandon() -> bool:
    """Return False: the pass goes on to its end."""
    return False


@dataclass(frozen=True)
class PassContext:
    """Everything that a pass over rows needs besides the rows and the adapters.

    `max_tokens` limits the tokens of one micro-batch; a longer row gets a micro-batch of its own. `processes`
    are the processes that compute the pass together. `abandon` is called before each micro-batch; the pass
    ends there, without a result, when `abandon` returns True. Only a process that trains alone may abandon a
    pass, because several processes must make the same calls (`Processes.may_abandon`). `abandon` may save the
    state of any job, and lets others compute on the device. So what must hold only while the pass computes
    belongs into `computing`, the context of each micro-batch, which has ended whenever `abandon` is called.
    `recompute` says what a training pass computes again in its backward pass, to keep less.
    """

    base: ResidentBase
    max_tokens: int
    processes: Processes = ALONE
    abandon: Callable[[], bool] = never_abandon
    recompute: Recompute = Recompute.NONE
    computing: Callable[[], AbstractContextManager[object]] = nullcontext
