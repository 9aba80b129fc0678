"""Blocks that keep only their input, and are computed again in the backward pass.

This is gradient checkpointing (Chen et al. 2016, arXiv:1604.06174), by PyTorch's own function.
The same products of the same numbers give the same values, so nothing changes but the time and the memory.
Only if kept inputs wait in bf16, they are rounded meanwhile, and so is what is computed from them again.
Dropout masks come from a hash, so that nothing is drawn at random inside a block.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import Any, TypeVar

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from core.estimates.memory_plan import Recompute
from worker.engine.device.waiting_on_host import waiting_on_host

Result = TypeVar("Result")


def keeping_inputs(recompute: Recompute) -> AbstractContextManager[Any]:
    """Return the context of a pass in which `recomputed` keeps its inputs where they are to wait.

    It may be entered once for all layers or for each. Nothing else may be kept inside.
    """
    return waiting_on_host() if recompute is Recompute.LAYERS_FROM_HOST else nullcontext()


def recomputed(compute: Callable[[Tensor, bool], Result], x: Tensor) -> Result:
    """Return `compute(x, False)`, and keep only `x` of it. The backward pass calls `compute(x, True)`.

    The second call must save the same tensors for the backward pass, in the same order. It ends with the last
    of them, so its result is never used. What `compute` holds besides x is kept too.
    """
    calls = count()
    result: Result = checkpoint(
        lambda again: compute(again, next(calls) > 0), x, use_reentrant=False, preserve_rng_state=False
    )
    return result
