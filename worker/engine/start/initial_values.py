"""Computes an adapter's initial values, if they need the source weights or the job's rows."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from core.jobs.spec import JobSpec
from core.methods.low_rank import LoraAdapter
from worker.engine.adapters.adapter import InitialValues
from worker.engine.base.base_model import ResidentBase
from worker.engine.start.corda import corda
from worker.engine.start.eva import eva
from worker.engine.start.loftq import loftq
from worker.engine.step.trainee import parameters_in
from worker.rows import Row


@torch.no_grad()
def initial_values(
    base: ResidentBase,
    spec: JobSpec,
    rows: Sequence[Row],
    state: Mapping[str, Tensor],
    abandon: Callable[[], bool],
) -> InitialValues:
    """Return the initial values, on the CPU. It leaves out values that the adapter's layers find themselves.

    An adapter that is to be restored to a `state` begins with the parameters in it, and nothing is computed.
    Raises JobError if the base model does not allow the initialisation. `abandon` is called every few
    seconds. Raises Abandoned as soon as it returns true.
    """
    adapter = spec.adapter
    if not isinstance(adapter, LoraAdapter):
        return {}
    if state:
        return parameters_in(state)
    base.refuse_unsuitable(adapter)
    found: InitialValues = {}
    match adapter.init_lora_weights:
        case "loftq":
            found = loftq(base, adapter, abandon)
        case "eva":
            found = eva(base, spec, adapter, rows, abandon)
        case "corda":
            found = corda(base, spec, adapter, rows, abandon)
    return {name: values.cpu() for name, values in found.items()}
