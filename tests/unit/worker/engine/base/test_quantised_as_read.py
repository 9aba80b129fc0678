"""Weights that go into 4 or 8 bits are quantised as they are read, and never in memory whole in 16 bits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import GptOssConfig, PretrainedConfig, Qwen3MoeConfig

from core.errors import JobError
from core.estimates.loading import loading_bytes
from core.estimates.shapes import base_bytes
from tests.fixtures.engine.accounting import Allocated, MappedWhileQuantising
from tests.fixtures.engine.architectures import TINY, tiny_config
from tests.fixtures.models.quantised_source import in_fp8, in_mxfp4
from tests.fixtures.models.tiny import save_model
from worker.engine.base.expert_quantisation import Nf4Experts
from worker.engine.base.loading import load_model, load_plain
from worker.engine.base.model_shape import shape_of
from worker.engine.kernels.experts.modules import experts_in, parameter_names, weights_of

pytestmark = [pytest.mark.slow, pytest.mark.family(4)]

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_experts_per_tok": 2,
    "pad_token_id": 0,
}


def a_matrix_each() -> PretrainedConfig:
    """Return a model whose files hold each expert's matrices, which transformers merges into two stacks."""
    return Qwen3MoeConfig(moe_intermediate_size=64, num_experts=16, **SIZES)


def stacks() -> PretrainedConfig:
    """Return a model whose files hold the stacks, transposed, and their biases."""
    return GptOssConfig(intermediate_size=64, num_local_experts=16, **SIZES)


SOURCES: dict[str, tuple[Callable[[], PretrainedConfig], Callable[[Path], None]]] = {
    "a matrix each": (a_matrix_each, lambda _: None),
    "stacks": (stacks, lambda _: None),
    "a matrix each, in fp8": (a_matrix_each, lambda folder: in_fp8(folder, (32, 32))),
    "stacks in mxfp4": (stacks, in_mxfp4),
}


def save_in_fp16(config: PretrainedConfig, folder: Path) -> None:
    """Write a model in 16 bits that are not those of bf16. So the loaded weights are copies: they count."""
    save_model(config, folder)
    weights = load_file(file := folder / "model.safetensors")
    save_file({name: each.half() for name, each in weights.items()}, file, {"format": "pt"})


def numbers_of(weights: Any) -> list[Tensor]:
    """Return all that quantised experts hold."""
    if not isinstance(weights, Nf4Experts):
        return [weights.int8_ENK, weights.absmax_EN]
    scales = [part for state in weights.states for part in (state.absmax, state.offset, state.state2.absmax)]
    return [*weights.packed, *scales]


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("name", SOURCES)
def test_beside_what_is_quantised_there_are_two_stacks_of_experts_at_most(
    name: str, quantization: Any, tmp_path: Path
) -> None:
    """The estimate knows this peak. The result is that of quantising the model when it is whole in memory."""
    config, prepare = SOURCES[name]
    save_in_fp16(config(), tmp_path)
    prepare(tmp_path)
    entry = TINY.model_copy(update={"quantization": quantization})
    with Allocated() as allocated:
        model = load_model(entry, tmp_path, CPU, torch.bfloat16)
    whole: nn.Module = load_plain(tmp_path, torch.bfloat16)
    layers = experts_in(whole)
    sizes = [getattr(each, kind).nbytes for each in layers.values() for kind in parameter_names(each)]
    assert allocated.peak <= allocated.live + 2 * max(sizes) < sum(sizes)
    shape = shape_of(whole.config, torch.bfloat16, quantization, "portable")
    assert shape is not None
    assert 0.9 < (base_bytes(shape) + loading_bytes(shape)) / allocated.peak < 1.15

    assert experts_in(model).keys() == layers.keys()
    for module, experts in layers.items():
        for kind in parameter_names(experts):
            found: Any = weights_of(model.get_submodule(module), kind)
            dense: Any = weights_of(experts, kind)
            expected = type(found).made_of(dense)
            assert found.shape == expected.shape
            pairs = zip(numbers_of(found), numbers_of(expected), strict=True)
            assert all(torch.equal(*pair) for pair in pairs), (module, kind)
            assert (found.bias_EN is None) == (dense.bias_EN is None)
            assert dense.bias_EN is None or torch.equal(found.bias_EN, dense.bias_EN)


@pytest.mark.parametrize("quantization", ["nf4", "int8", None])
@pytest.mark.parametrize("tied", [True, False])
def test_beside_what_is_quantised_there_is_one_matrix_and_the_estimate_knows_it(
    tied: bool, quantization: Any, tmp_path: Path
) -> None:
    """With nf4, the embedding and the head wait in 16 bits. So do the weights that nobody quantises."""
    config = tiny_config(
        "Llama",
        vocab_size=6000,
        hidden_size=256,
        intermediate_size=2048,
        num_hidden_layers=4,
        tie_word_embeddings=tied,
    )()
    save_in_fp16(config, tmp_path)
    entry = TINY.model_copy(update={"quantization": quantization})
    with Allocated() as allocated:
        load_model(entry, tmp_path, CPU, torch.bfloat16)
    shape = shape_of(config, torch.bfloat16, quantization, "fast", tied=tied)
    assert shape is not None
    assert 0.9 < (base_bytes(shape) + loading_bytes(shape)) / allocated.peak < 1.1


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_experts_of_another_shape_are_refused(quantization: Any, tmp_path: Path) -> None:
    save_model(stacks(), tmp_path)
    weights = load_file(file := tmp_path / "model.safetensors")
    name = "model.layers.0.mlp.experts.down_proj"
    save_file(weights | {name: weights[name].transpose(1, 2).contiguous()}, file, {"format": "pt"})
    entry = TINY.model_copy(update={"quantization": quantization})
    with pytest.raises(JobError, match=rf"lack {name}, or hold it in another shape") as refused:
        load_model(entry, tmp_path, CPU, torch.bfloat16)
    assert refused.value.code == "unsupported_architecture"


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_file_is_mapped_only_while_a_weight_is_read(quantization: Any, tmp_path: Path) -> None:
    """The whole file would count as the process's memory. A weight that was cast needs its part no more."""
    save_model(a_matrix_each(), tmp_path)
    entry = TINY.model_copy(update={"quantization": quantization})
    with MappedWhileQuantising(tmp_path) as while_quantising:
        load_model(entry, tmp_path, CPU, torch.bfloat16)
    assert while_quantising.calls >= 6 * (4 + 2)  # in each layer: the attention's matrices, and two stacks
    assert while_quantising.mapped == 0
