"""What an estimate knows of each layer is what transformers builds, and what the engine adapts there."""

from collections.abc import Callable

import pytest
import torch
from transformers import PretrainedConfig

from bench.memory.models import Case, build
from core.estimates.configuration import shape_of
from core.estimates.shapes import base_bytes
from tests.fixtures.engine.architectures import FAST, PORTABLE
from worker.engine.adapters.shapes import adaptable_shapes
from worker.engine.base import model_shape

FAMILIES = FAST | PORTABLE
NEMOTRON = {"model_type": "nemotron_h", "hidden_size": 64, "intermediate_size": 96, "vocab_size": 300}


@pytest.mark.parametrize("name", FAMILIES)
def test_adapters_have_the_shapes_that_the_engine_gives_them(name: str) -> None:
    """So the bytes of an adapter are known without the model, also of targets that are named."""
    case = case_of(name, FAMILIES[name])
    model, decoder = build(case)
    assert dict(case.shape.all_projections) == dict(adaptable_shapes(model, decoder))
    held = sum(weight.nbytes for weight in model.parameters())
    assert base_bytes(case.shape) == pytest.approx(held, rel=0.05), (
        "only biases and small vectors are missing"
    )


def case_of(name: str, config: Callable[[], PretrainedConfig]) -> Case:
    return Case(name, config, torch.float32, path="fast" if name in FAST else "portable")


def test_the_layers_of_an_older_configuration_are_known() -> None:
    """Nemotron's patterns, and the older names of the types of layers."""
    pattern = NEMOTRON | {"hybrid_override_pattern": "M*-", "num_attention_heads": 4, "head_dim": 16}
    named = NEMOTRON | {"layers_block_type": ["mamba", "attention", "mlp"], "num_attention_heads": 4}
    found = [shape_of(each, 2, None) for each in (pattern, named | {"head_dim": 16})]
    assert found[0] == found[1]
    assert found[0] is not None
    assert [bool(layer.recurrence) for layer in found[0].each_layer] == [True, False, False]


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "falcon_h1", "layer_types": ["linear_attention"] * 2},
        {"model_type": "nemotron_h", "moe_latent_size": 32},
        {"model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": None},
    ],
    ids=lambda changes: changes["model_type"],
)
def test_layers_of_an_unknown_kind_have_no_estimate(changes: dict[str, object]) -> None:
    """Nothing is better than a number for something else."""
    sizes = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
    assert shape_of({**sizes, "vocab_size": 300, **changes}, 2, None) is None


def test_a_gemma_with_several_heads_has_one_shape_for_each_layer() -> None:
    config = FAMILIES["gemma 4, shared keys and inputs of layers"]()
    found = model_shape.shape_of(config, torch.bfloat16, None, "fast")
    assert found is not None
    assert [layer.head_size for layer in found.each_layer] == [16, 32, 16, 32]
    assert [layer.keys_are for layer in found.each_layer] == ["own", "own", "borrowed", "borrowed"]
    assert [layer.inner for layer in found.each_layer] == [96, 96, 192, 192]
