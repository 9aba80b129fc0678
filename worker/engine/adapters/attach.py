"""Attaches an adapter of a job's method to the resident base model."""

from core.jobs.spec import JobSpec
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.methods.whole import FullTuning
from worker.engine.adapters.adapter import Adapter, InitialValues
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.adapters.modules.peft_adapter import PeftAdapter
from worker.engine.adapters.modules.whole_model import WholeModel
from worker.engine.base.base_model import ResidentBase


def attach(
    base: ResidentBase,
    name: str,
    spec: JobSpec,
    total_steps: int = 1,
    step_tokens: int = 0,
    longest_row: int = 0,
    initial: InitialValues | None = None,
) -> Adapter:
    """Return the adapter `name` of a job, attached to the base model.

    `step_tokens` is the most tokens that are computed at once, and `longest_row` the most of a row. `initial`
    are the adapter's `initial_values`. Raises JobError if the base model or the memory does not allow it.
    """
    base.refuse_unsuitable(spec.adapter)
    if isinstance(spec.adapter, LoraAdapter | AdaLoraAdapter) and not spec.trains_alone:
        return TrainableAdapter(base, name, spec.adapter, spec.seed, total_steps, initial)
    if isinstance(spec.adapter, FullTuning):
        return WholeModel(base, name, step_tokens, longest_row, spec)
    return PeftAdapter(base, name, spec.adapter, spec.seed)
