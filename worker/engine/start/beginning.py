"""What an adapter begins with where that takes more than its own layers: published weights, or rows."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from core.jobs.spec import JobSpec
from core.methods.low_rank import LoraAdapter
from worker.engine.adapters.adapter import Beginning
from worker.engine.base.base_model import ResidentBase
from worker.engine.start.corda import corda
from worker.engine.start.eva import eva
from worker.engine.start.loftq import loftq
from worker.engine.step.trainee import parameters_in
from worker.rows import Row


@torch.no_grad()
def beginning(
    base: ResidentBase,
    spec: JobSpec,
    rows: Sequence[Row],
    state: Mapping[str, Tensor],
    abandon: Callable[[], bool],
) -> Beginning:
    """On the CPU; none of those that the adapter's layers find by themselves.

    What is to be restored to a `state` begins with its parameters, and nothing is computed. Raises JobError
    where the base model does not allow for it, and Abandoned where `abandon` says so on the way; it is asked
    every few seconds.
    """
    adapter = spec.adapter
    if not isinstance(adapter, LoraAdapter):
        return {}
    if state:
        return parameters_in(state)
    base.refuse_misfit(adapter)
    found: Beginning = {}
    match adapter.init_lora_weights:
        case "loftq":
            found = loftq(base, adapter, abandon)
        case "eva":
            found = eva(base, spec, adapter, rows, abandon)
        case "corda":
            found = corda(base, spec, adapter, rows, abandon)
    return {name: values.cpu() for name, values in found.items()}
