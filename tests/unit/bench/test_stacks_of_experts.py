"""No stack of experts is made for an update, on the configurations of released models."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, PretrainedConfig

from bench.memory.models import Case, Factors, build
from bench.memory.tracked import forward, micro_batch, without_values
from core.estimates.configuration import DecoderPath
from core.estimates.expected_path import FAST_EXPERT_TYPES
from tests.fixtures.engine.accounting import Allocated
from tests.fixtures.models.released import NAMES, released

TYPES = {
    "Qwen3.5-35B-A3B": ["linear_attention", "full_attention"],
    "Gemma 4 26B-A4B": ["sliding_attention", "full_attention"],
}
EXPERTS = 16
"""Each takes the time of a hundred operations, and a step computes them one by one."""


def few_layers(name: str) -> Callable[[], PretrainedConfig]:
    """Return the maker of a text model's configuration, with one layer of each kind and few experts."""

    def make() -> PretrainedConfig:
        given = released(name)
        text = dict(given.get("text_config", given))
        text[next(each for each in ("num_experts", "num_local_experts") if each in text)] = EXPERTS
        types = TYPES.get(name, ["full_attention"])
        text |= {"layer_types": types, "num_hidden_layers": len(types)}
        return CONFIG_MAPPING[text.pop("model_type")](**text)

    return make


@pytest.mark.family(1)
@pytest.mark.parametrize("quantization", [None, "nf4"])
@pytest.mark.parametrize("name", NAMES)
def test_no_tensor_of_a_step_is_as_large_as_a_stack_of_experts(name: str, quantization: Any) -> None:
    """The update of one stack of Qwen3-30B-A3B would take 0.4 or 0.8 GB in a layer with all 128 experts."""
    make = few_layers(name)
    path: DecoderPath = "fast" if make().model_type in FAST_EXPERT_TYPES else "portable"
    case = Case(name, make, torch.bfloat16, quantization, path)
    with without_values():
        model, decoder = build(case)
        factors = Factors(model, decoder, 16, case.dtype)
        with Allocated(without_values=True) as counted:
            forward(decoder, factors, micro_batch(rows=2, length=256, supervised=8)).sum().backward()
    experts = case.shape.experts
    assert experts is not None
    stacks = (K * N // experts.count for K, N in case.shape.expert_projections.values())
    assert 0 < counted.largest < min(stacks) * case.dtype.itemsize
