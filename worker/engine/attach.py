"""An adapter of a job's method, on the resident base model."""

from core.jobspec import JobSpec
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from worker.engine.adapter import Adapter
from worker.engine.adapters import TrainableAdapter
from worker.engine.base_model import ResidentBase
from worker.engine.beginning import Beginning
from worker.engine.peft_adapter import PeftAdapter


def attach(
    base: ResidentBase, name: str, spec: JobSpec, total_steps: int = 1, first: Beginning | None = None
) -> Adapter:
    """Raises JobError where the base model does not allow for it. `first` is its `beginning`."""
    if isinstance(spec.adapter, LoraAdapter | AdaLoraAdapter):
        return TrainableAdapter(base, name, spec.adapter, spec.seed, total_steps, first)
    return PeftAdapter(base, name, spec.adapter, spec.seed)
