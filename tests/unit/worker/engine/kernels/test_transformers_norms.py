"""transformers' norms in one pass compute what their classes compute."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from transformers.models.granitemoehybrid.modeling_granitemoehybrid import GraniteMoeHybridRMSNormGated
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5RMSNorm, Qwen3_5RMSNormGated

from tests.fixtures.engine.twins import DTYPES, assert_twins_agree
from worker.engine.batch.micro_batch import Segment
from worker.engine.kernels.transformers_attention import SegmentLayout, attending_in
from worker.engine.kernels.transformers_norms import take_norms

LAYOUT = SegmentLayout([Segment(0, 5)], torch.arange(5))
NORMS = {
    "a factor w": (LlamaRMSNorm, 1),
    "a factor 1 + w": (Qwen3_5RMSNorm, 1),
    "a gate behind": (Qwen3_5RMSNormGated, 2),
    "a gate before": (partial(GraniteMoeHybridRMSNormGated, group_size=1), 2),
}
LED = {"a factor w", "a factor 1 + w", "a gate behind"}


def norm_of(name: str, width: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    module: nn.Module = NORMS[name][0](width).to(dtype).requires_grad_(False)
    with torch.no_grad():
        module.weight.copy_(torch.rand(width))
    take_norms(module)
    return module


@DTYPES
@pytest.mark.parametrize("width", [48, 37], ids=["whole vectors", "others"])
@pytest.mark.parametrize("name", NORMS)
def test_values_and_gradients_are_those_of_the_class(name: str, width: int, dtype: torch.dtype) -> None:
    module = norm_of(name, width, dtype)

    def inside(*inputs: Tensor) -> Tensor:
        with attending_in(LAYOUT):
            return module(*inputs)

    inputs = [torch.randn(2, 5, width).to(dtype) for _ in range(NORMS[name][1])]
    assert hasattr(type(module).forward, "own") is (name in LED)
    assert_twins_agree(dtype, inside, module, *inputs)


def test_a_weight_that_trains_gets_its_gradient() -> None:
    module = norm_of("a factor 1 + w", 48).requires_grad_()
    with attending_in(LAYOUT):
        module(torch.randn(5, 48)).sum().backward()
    assert module.weight.grad.abs().sum() > 0
