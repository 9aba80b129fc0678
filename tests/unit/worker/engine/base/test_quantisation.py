"""Base models in 4 and 8 bits: which weights are held in how many bits, and which stay as they are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.fixtures.engine.architectures import FAST, PORTABLE, TINY, tiny_config
from tests.fixtures.models.tiny import save_model
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.head import Head
from worker.engine.decoders.layer_weight import weight_of
from worker.engine.kernels.frozen_weight import DenseWeight

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
LEVELS = 127  # on each side of 0


def load(config: Any, folder: Path, quantization: str = "nf4") -> ResidentBase:
    save_model(config(), folder)
    return ResidentBase(TINY.model_copy(update={"quantization": quantization}), folder, "0" * 64, CPU)


@pytest.mark.parametrize("tied", [True, False])
def test_in_4_bits_embedding_and_head_are_the_source_weights_rounded_to_8(tied: bool, tmp_path: Path) -> None:
    model: Any = load(tiny_config("Llama", tie_word_embeddings=tied), tmp_path).model
    source: Any = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert (embedding.weight.data_ptr() == head.weight.data_ptr()) == tied
    words = torch.arange(embedding.num_embeddings)
    for found_VD, layer in ((embedding(words), embedding), (weight_of(head), head)):
        assert layer.weight.dtype == torch.int8
        name = "model.embed_tokens" if layer is embedding else "lm_head"
        expected_VD = source.get_submodule(name).weight
        half_a_level_V1 = expected_VD.abs().amax(1, keepdim=True) / LEVELS / 2
        by_way_of_fp16_VD = expected_VD.abs() * 2**-10
        assert ((found_VD - expected_VD).abs() <= half_a_level_V1 + by_way_of_fp16_VD).all()


def test_the_scales_of_4_bits_are_quantised_too(tmp_path: Path) -> None:
    """QLoRA's double quantisation: the scale of each block has 8 bits, and many of these share one scale."""
    model: Any = load(tiny_config("Llama"), tmp_path).model
    state = model.get_submodule("model.layers.0.mlp.up_proj").weight.quant_state
    assert (state.quant_type, state.nested, state.absmax.dtype) == ("nf4", True, torch.uint8)
    assert state.state2.absmax.dtype == torch.float32
    assert len(state.state2.absmax) < len(state.absmax)


@pytest.mark.parametrize(
    ("name", "quantization"), [("gemma 3, windows in some layers", "nf4"), ("qwen 2, biases", "int8")]
)
def test_a_scaled_embedding_is_left_as_it_is_and_so_is_any_in_8_bits(
    name: str, quantization: str, tmp_path: Path
) -> None:
    model: Any = load((FAST | PORTABLE)[name], tmp_path, quantization).model
    assert model.get_input_embeddings().weight.dtype == torch.float32
    weight = Head.of(model).weight
    assert isinstance(weight, DenseWeight)
    assert weight.weight_NK is model.get_output_embeddings().weight


def test_the_head_s_weight_comes_in_the_type_that_the_base_computes_in(tmp_path: Path) -> None:
    save_model(tiny_config("Llama")(), tmp_path)
    entry = TINY.model_copy(update={"quantization": "nf4", "dtype": "bf16"})
    base = ResidentBase(entry, tmp_path, "0" * 64, CPU)
    one_token = torch.ones(1, base.decoder.head_weight.shape[1], dtype=torch.bfloat16)
    assert base.decoder.head_weight.forward(one_token).dtype == torch.bfloat16
    assert base.model.get_input_embeddings()(torch.tensor([3])).dtype == torch.bfloat16  # type: ignore[operator]


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_the_file_of_the_weights_does_not_stay_mapped(quantization: str, tmp_path: Path) -> None:
    base = load(tiny_config("Llama"), tmp_path, quantization)
    norm: Any = base.model.get_submodule("model.norm")
    assert norm.weight.device == CPU
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
