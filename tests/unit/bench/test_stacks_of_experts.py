"""No stack of experts is made for an update, on the configurations of released models."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, PretrainedConfig

from bench.memory.models import Case, Factors, build
from bench.memory.tracked import forward, micro_batch, without_values
from tests.fixtures.engine.accounting import Allocated
from tests.fixtures.models.released import NAMES, released

TYPES = {
    "Qwen3.5-35B-A3B": ["linear_attention", "full_attention"],
    "Gemma 4 26B-A4B": ["sliding_attention", "full_attention"],
}
"""One layer of each kind, where there are several."""


def two_layers(name: str) -> Callable[[], PretrainedConfig]:
    """Return the maker of a text model's configuration, with two of its layers."""

    def make() -> PretrainedConfig:
        given = released(name)
        text = {**given.get("text_config", given), "num_hidden_layers": 2}
        if name in TYPES:
            text["layer_types"] = TYPES[name]
        return CONFIG_MAPPING[text.pop("model_type")](**text)

    return make


@pytest.mark.family(1)
@pytest.mark.parametrize("quantization", [None, "nf4"])
@pytest.mark.parametrize("name", NAMES)
def test_no_tensor_of_a_step_is_as_large_as_a_stack_of_experts(name: str, quantization: Any) -> None:
    """The update of one stack of Qwen3-30B-A3B would take 0.4 or 0.8 GB, in each layer."""
    case = Case(name, two_layers(name), torch.bfloat16, quantization, path="portable")
    with without_values():
        model, decoder = build(case)
        factors = Factors(model, decoder, 16, case.dtype)
        with Allocated(without_values=True) as counted:
            forward(decoder, factors, micro_batch(rows=2, length=256, supervised=64)).sum().backward()
    experts = case.shape.experts
    assert experts is not None
    stacks = (K * N // experts.count for K, N in case.shape.expert_projections.values())
    assert 0 < counted.largest < min(stacks) * case.dtype.itemsize
