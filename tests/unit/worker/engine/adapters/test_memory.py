"""An adapter takes as much memory as was computed before."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, LlamaConfig

from bench.memory.tracked import micro_batch
from core.estimates.adapters import ranks_of, state_bytes
from core.estimates.memory import step_memory
from core.estimates.memory_plan import Recompute
from core.estimates.peft_modules import beside_of
from core.estimates.shapes import Load
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter, LowRankAdapter
from tests.fixtures.engine.accounting import Allocated
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.adapters.modules.peft_adapter import PeftAdapter
from worker.engine.adapters.shapes import projection_shapes
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.head import head_losses


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "down_proj"], ["model.layers.1.mlp.up_proj"]])
@pytest.mark.parametrize(("dtype", "bytes_each"), [(torch.float32, 16), (torch.bfloat16, 18)])
def test_the_state_of_an_adapter_is_known_before_it_is_attached(
    base: ResidentBase, targets: str | list[str], dtype: torch.dtype, bytes_each: int
) -> None:
    spec = LoraAdapter.model_validate({"r": 4, "target_modules": targets})
    expected = state_bytes(
        projection_shapes(base.model, base.decoder.groups), spec, dtype.itemsize, base.lanes.count
    ).total
    parameters = TrainableAdapter(base, "job", spec, 0).parameters
    more_gradients = sum(gradient.nbytes for gradient in parameters.lane_gradients[1:])
    assert expected == parameters.master.numel() * bytes_each + more_gradients


def test_only_the_layers_that_an_adapter_is_limited_to_count(base: ResidentBase) -> None:
    spec = LoraAdapter(r=4, target_modules=["q_proj", "down_proj"], layers_to_transform=[1])
    shapes = projection_shapes(base.model, base.decoder.groups)
    adapter = TrainableAdapter(base, "job", spec, 0)
    assert set(adapter.parameters.extents) == {
        f"model.layers.1.{module}.lora_{factor}"
        for module in ("self_attn.q_proj", "mlp.down_proj")
        for factor in "AB"
    }
    expected = state_bytes(shapes, spec, 4, base.lanes.count).total
    assert expected == adapter.parameters.master.numel() * (12 + 4 * base.lanes.count)
    assert ranks_of(shapes, [spec]) == 2 * 4


def test_ranks_of_single_modules_count(base: ResidentBase) -> None:
    spec = LoraAdapter(r=4, rank_pattern={"q_proj": 9, "layers.1.mlp.down_proj": 1})
    shapes = projection_shapes(base.model, base.decoder.groups)
    expected = state_bytes(shapes, spec, 4, base.lanes.count).total
    parameters = TrainableAdapter(base, "job", spec, 0).parameters
    assert expected == parameters.master.numel() * (12 + 4 * base.lanes.count)


@pytest.mark.family(2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "spec",
    [
        LoraAdapter(r=4, rank_pattern={"q_proj": 9}, init_lora_weights="pissa"),
        AdaLoraAdapter(init_r=5, target_r=2),
        LoraAdapter(r=4, dynamic_rank=True),
    ],
    ids=["pissa", "adalora", "dylora"],
)
def test_factors_that_are_not_the_parameters_count(
    tiny_folder: Path, dtype: torch.dtype, spec: LowRankAdapter
) -> None:
    entry = TINY.model_copy(update={"dtype": "bf16" if dtype == torch.bfloat16 else "fp32"})
    base = ResidentBase(entry, tiny_folder, "0" * 64, torch.device("cpu"))
    shapes = projection_shapes(base.model, base.decoder.groups)
    parameters = TrainableAdapter(base, "job", spec, 0).parameters
    tensors = [parameters.master, parameters.gradient, *parameters.lane_gradients, parameters.low]
    moments, made = 2 * parameters.master.nbytes, parameters.factors().nbytes
    held = sum(tensor.nbytes for tensor in (*tensors, *parameters.kept.values())) + moments + made
    assert state_bytes(shapes, spec, dtype.itemsize, base.lanes.count).total == held


def test_magnitudes_count_with_the_norms_of_the_weights(base: ResidentBase) -> None:
    spec = LoraAdapter(r=4, use_dora=True, target_modules=["q_proj", "down_proj"])
    shapes = projection_shapes(base.model, base.decoder.groups)
    parameters = TrainableAdapter(base, "job", spec, 0).parameters
    held = [parameters.master, parameters.gradient, *parameters.lane_gradients, parameters.low]
    held += [parameters.master, parameters.master, parameters.factors()]  # moments
    norms = 4 * 3 * (64 + 64)
    expected = state_bytes(shapes, spec, 4, base.lanes.count).total
    assert expected == sum(tensor.nbytes for tensor in held) + norms


def test_layers_of_another_class_count_too_where_peft_adapts_them(tmp_path: Path) -> None:
    save_model(GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4, n_positions=512), tmp_path)
    base = ResidentBase(TINY, tmp_path, "0" * 64, torch.device("cpu"))
    spec = LoraAdapter(r=4)
    shapes = projection_shapes(base.model, base.decoder.groups)
    expected = state_bytes(shapes, spec, 4, base.lanes.count).total
    adapter = TrainableAdapter(base, "job", spec, 0)
    assert expected == adapter.parameters.master.numel() * 16


SMALL = LlamaConfig(
    vocab_size=2048,
    hidden_size=192,
    intermediate_size=512,
    num_hidden_layers=4,
    num_attention_heads=3,
    num_key_value_heads=1,
    max_position_embeddings=1024,
)
LENGTH, ROWS, SUPERVISED = 128, 4, 256
WHOLE = [
    {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    {"modules_to_save": ["lm_head", "model.norm"]},
    {"modules_to_save": ["embed_tokens", "lm_head"]},
    {"modules_to_save": ["embed_tokens", "lm_head"], "target_modules": ["q_proj", "v_proj"]},
    {"trainable_token_indices": [5, 6, 7]},
]


@pytest.mark.family(2)
@pytest.mark.parametrize(
    ("beside", "tied", "dtype"),
    [(beside, beside is not WHOLE[2], torch.bfloat16) for beside in WHOLE]
    + [(beside, tied, torch.float32) for beside in WHOLE for tied in (False, True)],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
def test_whole_modules_and_tokens_are_counted_as_peft_computes_them(
    beside: dict[str, Any], tied: bool, dtype: torch.dtype, tmp_path: Path
) -> None:
    config = copy.deepcopy(SMALL)
    config.tie_word_embeddings = tied
    save_model(config, tmp_path)
    entry = TINY.model_copy(update={"dtype": "bf16" if dtype == torch.bfloat16 else "fp32"})
    base = ResidentBase(entry, tmp_path, "0" * 64, torch.device("cpu"))
    spec = LoraAdapter(r=8, **beside)
    adapter = PeftAdapter(base, "job", spec, 0)
    model = base.budget.model
    assert model is not None
    found = beside_of(model, spec)
    assert found is not None
    load = replace(
        found.added_to(Load.of(model, [spec], LENGTH, "cpu")), supervised=SUPERVISED / (ROWS * LENGTH)
    )
    held = sum(each.nbytes for each in (adapter.parameters.master, adapter.parameters.gradient))
    held += adapter.parameters.low.nbytes if dtype == torch.bfloat16 else 0
    assert load.state.adapter + load.state.gradients == held
    assert load.state.moments == 2 * adapter.parameters.master.nbytes
    batch = micro_batch(ROWS, LENGTH, SUPERVISED)
    with Allocated() as counted:
        hidden_SD = adapter.decoder.hidden(batch, {"job": {}})
        decoder = adapter.decoder
        losses = head_losses(hidden_SD, decoder.head_weight, decoder.softcap, batch.labels_S, batch.weights_S)
        del hidden_SD
        losses.weighted_S.sum().backward()
    step = step_memory(model, load, Recompute.NONE, ROWS * LENGTH)
    assert counted.peak == pytest.approx(step.peak, rel=0.1)
