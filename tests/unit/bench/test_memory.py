"""The memory model agrees with torch's own accounting of the engine, on models that are not in memory."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma4TextConfig,
    Glm4MoeConfig,
    GptOssConfig,
    GraniteMoeHybridConfig,
    Lfm2Config,
    LlamaConfig,
    NemotronHConfig,
    PretrainedConfig,
    Qwen3_5MoeTextConfig,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

from bench.memory.measured import measure
from bench.memory.models import CASES, Case, Factors, build
from bench.memory.tracked import forward, micro_batch, track, without_values
from core.estimates.adapters import state_bytes
from core.estimates.configuration import shape_of
from core.estimates.memory import step_memory
from core.estimates.memory_plan import Recompute
from core.estimates.shapes import Load, base_bytes
from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.accounting import Allocated

ROWS, LENGTH, SUPERVISED, LAYERS, RANK = 4, 512, 64, 2, 16
SMALL = {
    "num_hidden_layers": 4,
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 4096,
    "tie_word_embeddings": False,
}


@pytest.mark.family(2)
@pytest.mark.parametrize("case", CASES[:5], ids=lambda case: case.name)
def test_the_memory_of_a_step_is_what_torch_counts(case: Case) -> None:
    """All layers are alike, so two are enough."""
    counted = track(case, ROWS, LENGTH, SUPERVISED, RANK, LAYERS)
    model = replace(case.shape, layers=LAYERS)
    tokens = ROWS * LENGTH
    load = Load.of(model, [LoraAdapter(r=RANK)], LENGTH, "cpu")
    step = step_memory(model, replace(load, supervised=SUPERVISED / tokens), Recompute.NONE, tokens)
    held = base_bytes(model) + load.state.total - load.state.moments
    assert counted.before == pytest.approx(held, rel=0.01)
    assert counted.peak - counted.before == pytest.approx(step.peak, rel=0.1)


EXPERTS = {"num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 256}
ROUTED = {"n_routed_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 256}
LOCAL = {"num_local_experts": 16, "num_experts_per_tok": 4, "intermediate_size": 256}
SHARED = {"shared_expert_intermediate_size": 256}
DELTA = {
    **{"linear_num_key_heads": 4, "linear_num_value_heads": 8},
    **{"linear_key_head_dim": 64, "linear_value_head_dim": 64},
}
MAMBA = {"mamba_n_heads": 12, "mamba_n_groups": 1, "mamba_d_state": 128, "shared_intermediate_size": 256}
MIXERS = {"mamba_num_heads": 12, "mamba_head_dim": 64, "n_groups": 2}
MIXERS |= {"moe_shared_expert_intermediate_size": 256}
FULL, SLIDING, LINEAR, CONV = "full_attention", "sliding_attention", "linear_attention", "conv"
HEADS = {"tie_word_embeddings": True, "head_dim": 64, "global_head_dim": 128}
EQUAL = {"attention_k_eq_v": True, "num_global_key_value_heads": 1, "hidden_size_per_layer_input": 0}
LENT = {
    **{"hidden_size_per_layer_input": 64, "vocab_size_per_layer_input": 4096},
    **{"num_kv_shared_layers": 2, "use_double_wide_mlp": True},
}
BESIDE = {"enable_moe_block": True, "num_experts": 16, "top_k_experts": 4, "moe_intermediate_size": 256}
FAMILIES: dict[str, tuple[type[PretrainedConfig], dict[str, Any]]] = {
    "qwen 3 moe": (Qwen3MoeConfig, EXPERTS),
    "gpt-oss": (GptOssConfig, LOCAL),
    "glm 4.5": (Glm4MoeConfig, {**ROUTED, "first_k_dense_replace": 1, "use_qk_norm": True}),
    "qwen 3.5": (Qwen3_5TextConfig, DELTA),
    "qwen 3.5 moe": (Qwen3_5MoeTextConfig, DELTA | EXPERTS | SHARED),
    "lfm 2": (Lfm2Config, {"layer_types": [CONV, CONV, FULL, CONV]}),
    "granite 4 h": (GraniteMoeHybridConfig, LOCAL | MAMBA | {"layer_types": [LINEAR, LINEAR, FULL, LINEAR]}),
    "nemotron 3": (NemotronHConfig, ROUTED | MIXERS | {"layer_types": [LINEAR, "moe", FULL, "mlp"]}),
    "nemotron 3, a wide shared expert": (
        NemotronHConfig,
        ROUTED
        | MIXERS
        | {"moe_shared_expert_intermediate_size": 7688, "layer_types": [LINEAR, "moe", FULL, "moe"]},
    ),
    "gemma 4, keys that are values": (Gemma4TextConfig, HEADS | EQUAL),
    "gemma 4, shared keys and inputs of layers": (
        Gemma4TextConfig,
        HEADS | LENT | {"layer_types": [SLIDING, FULL, SLIDING, FULL]},
    ),
    "gemma 4 with experts": (Gemma4TextConfig, HEADS | EQUAL | BESIDE),
}
FAST = (
    *("qwen 3 moe", "glm 4.5", "gpt-oss"),
    *("gemma 4, keys that are values", "gemma 4, shared keys and inputs of layers"),
)


def family(name: str, dtype: torch.dtype, sizes: dict[str, Any]) -> Case:
    """Return a model of the family. Its layers repeat if there are more than it names."""
    config, own = FAMILIES[name]
    fields = {**sizes, **own}
    if types := own.get("layer_types"):
        fields["layer_types"] = types * (sizes["num_hidden_layers"] // len(types))
    return Case(name, partial(config, **fields), dtype, path="fast" if name in FAST else "portable")


def assert_counted(case: Case, rows: int, length: int, supervised: int) -> None:
    with without_values():
        model, decoder = build(case)
        factors, batch = Factors(model, decoder, RANK, case.dtype), micro_batch(rows, length, supervised)
        with Allocated(without_values=True) as counted:
            forward(decoder, factors, batch).sum().backward()
    shape, tokens = case.shape, rows * length
    load = replace(Load.of(shape, [LoraAdapter(r=RANK)], length, "cpu"), supervised=supervised / tokens)
    held = sum(weight.nbytes for weight in model.parameters())
    assert base_bytes(shape) == pytest.approx(held, rel=0.01)
    assert load.state.moments == 8 * factors.parameters.master.numel()
    assert counted.peak == pytest.approx(step_memory(shape, load, Recompute.NONE, tokens).peak, rel=0.1)


BOTH_PRECISIONS = (
    "qwen 3 moe",
    "gpt-oss",
    "qwen 3.5 moe",
    "nemotron 3",
    "gemma 4, shared keys and inputs of layers",
)


@pytest.mark.family(2)
@pytest.mark.parametrize(
    ("name", "dtype"),
    # The first case is always tried, and so is the middle one
    [(name, torch.float32) for name in BOTH_PRECISIONS] + [(name, torch.bfloat16) for name in FAMILIES],
)
@pytest.mark.exhaustive
def test_layers_that_differ_and_experts_with_their_factors_are_counted(name: str, dtype: torch.dtype) -> None:
    assert_counted(family(name, dtype, SMALL), rows=2, length=256, supervised=64)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["qwen 3 moe", "qwen 3.5"])
def test_wide_models_are_counted(name: str) -> None:
    sizes = {"num_hidden_layers": 8, "hidden_size": 1024, "intermediate_size": 3584, "vocab_size": 32000}
    assert_counted(family(name, torch.bfloat16, SMALL | sizes), rows=4, length=512, supervised=256)


def test_rank_16_on_all_experts_of_qwen_3_5_35b_is_0_9_billion_numbers() -> None:
    sizes = {"num_hidden_layers": 40, "hidden_size": 2048, "num_attention_heads": 16, "vocab_size": 248320}
    of_experts = {"num_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 512}
    found = shape_of({**sizes, **of_experts, "model_type": "qwen3_5_moe"}, 2, None)
    assert found is not None
    state = state_bytes(found.all_projections, LoraAdapter(r=16, target_modules=["experts"]), 2, 1)
    assert state.total == 0
    experts = LoraAdapter(r=16, target_modules=[], target_parameters=["gate_up_proj", "experts.down_proj"])
    state = state_bytes(found.all_projections, experts, 2, 1)
    numbers = state.moments // 8
    assert numbers == 40 * 16 * 256 * (2048 + 2 * 512 + 512 + 2048)
    assert numbers == pytest.approx(0.92e9, rel=0.01)
    assert state.total == 18 * numbers


@pytest.mark.family(1)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("rows", [1, 4])
def test_the_scores_of_capped_attention_are_counted(dtype: torch.dtype, rows: int) -> None:
    """On a device without FlexAttention they are kept, and grow with the length of a row."""
    case = Case("gemma 2", partial(Gemma2Config, **SMALL), dtype, path="portable")
    length = 1024
    counted = track(case, rows, length, SUPERVISED, RANK, LAYERS)
    model = replace(case.shape, layers=LAYERS)
    load = Load.of(model, [LoraAdapter(r=RANK)], length, "cpu")
    load = replace(load, supervised=SUPERVISED / (rows * length))
    step = step_memory(model, load, Recompute.NONE, rows * length)
    assert counted.peak - counted.before == pytest.approx(step.peak, rel=0.1)


def test_inputs_that_wait_on_the_host_leave_the_device() -> None:
    """Only the last one is still there after the forward pass. The peak drops by what the model says."""
    layers, rows, length = 5, 2, 256
    case = small(torch.bfloat16)
    inputs = rows * length * SMALL["hidden_size"] * case.dtype.itemsize
    here, from_host = (
        track(case, rows, length, SUPERVISED, RANK, layers, recompute)
        for recompute in (Recompute.LAYERS, Recompute.LAYERS_FROM_HOST)
    )
    assert here.before == from_host.before
    assert here.after_forward - from_host.after_forward == (layers - 2) * inputs
    model = replace(case.shape, layers=layers)
    load = Load.of(model, [LoraAdapter(r=RANK)], length, "gpu")
    expected, expected_from_host = (
        step_memory(model, replace(load, supervised=SUPERVISED / (rows * length)), recompute, rows * length)
        for recompute in (Recompute.LAYERS, Recompute.LAYERS_FROM_HOST)
    )
    assert here.peak - from_host.peak == expected.peak - expected_from_host.peak == (layers - 3) * inputs


def small(dtype: torch.dtype, portable: bool = False) -> Case:
    config = partial(Qwen3Config if portable else LlamaConfig, **SMALL)
    return Case("small", config, dtype, path="portable" if portable else "fast")


@pytest.mark.exhaustive
def test_the_memory_of_a_step_is_what_a_process_takes_on_a_cpu() -> None:
    rows, length = 1, 256  # more take minutes: a CPU without AVX-512 has no products in bf16
    cases = [small(torch.float32), small(torch.bfloat16), small(torch.float32, portable=True)]
    for case, measured in zip(cases, measure(cases, rows, length, RANK), strict=True):
        load = Load.of(case.shape, [LoraAdapter(r=RANK)], length, "cpu")
        step = step_memory(case.shape, load, Recompute.NONE, rows * length)
        assert measured == pytest.approx(step.peak, rel=0.1), case
