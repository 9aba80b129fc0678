"""Computes an adapter's initial values, if they need the source weights or the job's rows."""

from collections.abc import Callable, Sequence

import torch

from core.jobs.spec import JobSpec
from core.methods.low_rank import LoraAdapter
from worker.engine.adapters.adapter import InitialValues
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.targets import resolve_experts
from worker.engine.start.corda import corda
from worker.engine.start.eva import eva
from worker.engine.start.loftq import loftq
from worker.engine.start.lora_ga import lora_ga
from worker.rows.row import Row


@torch.no_grad()
def initial_values(
    base: ResidentBase,
    spec: JobSpec,
    rows: Sequence[Row],
    known: InitialValues,
    abandon: Callable[[], bool],
) -> InitialValues:
    """Return those initial values that do not follow from an adapter's own layers, on the CPU.

    Values that are `known`, from a checkpoint or a published adapter, are returned as they are. Raises
    JobError if the base model does not allow the initialisation. `abandon` is called between two rows and
    between two weights. Raises Abandoned as soon as it returns true.
    """
    adapter = spec.adapter
    if not isinstance(adapter, LoraAdapter):
        return {}
    if known:
        return known
    base.refuse_unsuitable(adapter)
    resolve_experts(adapter, base.decoder.experts)  # raises before a row is computed
    found: InitialValues = {}
    match adapter.init_lora_weights:
        case "loftq":
            found = loftq(base, adapter, abandon)
        case "eva":
            found = eva(base, spec, adapter, rows, abandon)
        case "corda":
            found = corda(base, spec, adapter, rows, abandon)
        case "lora_ga":
            found = lora_ga(base, spec, adapter, rows, abandon)
    return {name: values.cpu() for name, values in found.items()}
