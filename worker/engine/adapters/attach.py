"""An adapter of a job's method, on the resident base model."""

from core.jobs.spec import JobSpec
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.methods.whole import FullTuning
from worker.engine.adapters.adapter import Adapter, Beginning
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
    first: Beginning | None = None,
) -> Adapter:
    """`step_tokens` is the most tokens that are computed at once, `first` the adapter's `beginning`.

    Raises JobError where the base model or the memory does not allow for it.
    """
    base.refuse_misfit(spec.adapter)
    if isinstance(spec.adapter, LoraAdapter | AdaLoraAdapter):
        return TrainableAdapter(base, name, spec.adapter, spec.seed, total_steps, first)
    if isinstance(spec.adapter, FullTuning):
        return WholeModel(base, name, step_tokens)
    return PeftAdapter(base, name, spec.adapter, spec.seed)
