"""Finds the experts of a loaded model, and lets the engine's own function compute them."""

from collections.abc import Mapping
from typing import Any

import structlog
import torch
from torch import Tensor, nn

from worker.engine.base.trial import TOLERANCE
from worker.engine.decoders.portable import body_of
from worker.engine.kernels.experts.modules import (
    NAME,
    QUANTISED,
    experts_in,
    parameter_names,
    weights_of,
)

TOKENS, CHOICES = 8, 2

log = structlog.get_logger()


@torch.no_grad()
def take_experts(model: Any, sharded: bool = False) -> Mapping[str, nn.Module]:
    """Let the engine compute the model's experts. Return the layers of experts that it computes, by name.

    One layer of each class computes a few tokens in both ways first, because a class may do more than its
    flags say. If they differ, transformers goes on computing all experts, and no adapter can be put on them.
    Weights in 4 or 8 bits can be computed in one way only, and sharded ones not yet.
    """
    body = set(body_of(model).modules())
    found = {name: experts for name, experts in experts_in(model).items() if experts in body}
    if not found:
        return {}
    own = model.get_experts_implementation()
    whole = [] if sharded else [each for each in found.values() if not hasattr(each, QUANTISED)]
    examples = {type(each): each for each in whole}.values()
    expected = [_computed(each) for each in examples]
    model.set_experts_implementation(NAME)
    for each, theirs_TD in zip(examples, expected, strict=True):
        ours_TD = _computed(each)
        if not (ours_TD - theirs_TD).norm() <= TOLERANCE[each.down_proj.dtype] * theirs_TD.norm():
            log.warning("experts_left_to_transformers", kind=type(each).__name__)
            model.set_experts_implementation(own)
            return {}
    return found


def _computed(experts: Any) -> Tensor:
    """Return what the module makes of a few random tokens, in fp32."""
    random = torch.Generator().manual_seed(0)
    count, _, inputs = weights_of(experts, parameter_names(experts)[0]).shape
    device, dtype = experts.down_proj.device, experts.down_proj.dtype
    x_TD = torch.randn(TOKENS, inputs, generator=random)
    index_TC = torch.rand(TOKENS, count, generator=random).topk(min(CHOICES, count)).indices
    weights_TC = torch.rand(index_TC.shape, generator=random)
    out_TD: Tensor = experts(x_TD.to(device, dtype), index_TC.to(device), weights_TC.to(device, dtype))
    return out_TD.float()
