"""Source weights in FP8 and mxfp4 are those of transformers' own reference, and never twice in memory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import FineGrainedFP8Config, LlamaConfig, Mxfp4Config, PretrainedConfig

from core.errors import JobError
from core.jobs.spec import LoraAdapter
from tests.fixtures.engine.accounting import Allocated
from tests.fixtures.engine.architectures import FAST, TINY
from tests.fixtures.engine.wrappers import FAST_WRAPPERS
from tests.fixtures.models.quantised_source import in_fp8, in_mxfp4
from tests.fixtures.models.tiny import named_class, save_model
from worker.base_models.folder_check import why_unusable
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.loading import load_model, load_plain
from worker.engine.base.source import SourceWeights
from worker.engine.decoders.layer_weight import weight_of

pytestmark = [pytest.mark.slow, pytest.mark.family(2)]

CPU = torch.device("cpu")
MINISTRAL = FAST_WRAPPERS["ministral 3, rows within the first context"]
GPT_OSS = FAST["gpt-oss, sinks and experts"]
FP8 = FineGrainedFP8Config(dequantize=True)
SOURCES: dict[str, tuple[Callable[[], PretrainedConfig], Callable[[Path], None], Any]] = {
    "fp8, blocks": (FAST["llama"], lambda folder: in_fp8(folder, (32, 32)), FP8),
    "fp8, exponents of blocks": (
        FAST["llama"],
        lambda folder: in_fp8(folder, (32, 32), torch.float8_e8m0fnu),
        FP8,
    ),
    "fp8, one scale, in a wrapper": (MINISTRAL, in_fp8, FP8),
    "mxfp4": (GPT_OSS, in_mxfp4, Mxfp4Config(dequantize=True)),
}


def load(folder: Path, **catalog: Any) -> ResidentBase:
    return ResidentBase(TINY.model_copy(update=catalog), folder, "0" * 64, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", SOURCES)
def test_weights_are_those_that_transformers_computes(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    config, quantise, reference = SOURCES[name]
    save_model(config(), tmp_path)
    quantise(tmp_path)
    assert why_unusable(tmp_path) is None
    found = load(tmp_path, dtype="fp32" if dtype == torch.float32 else "bf16").model
    expected = named_class(tmp_path).from_pretrained(tmp_path, dtype=dtype, quantization_config=reference)
    weights = expected.state_dict()
    assert found.state_dict().keys() == weights.keys()
    for each, weight in found.state_dict().items():
        assert weight.dtype == weights[each].dtype, each
        assert torch.equal(weight, weights[each]), each
    assert "quantization_config" not in found.config.to_dict()


def stacked(folder: Path, scales: Tensor, block: tuple[int, int] | None = (32, 16)) -> tuple[Tensor, Tensor]:
    """Write a stack of three experts in e4m3 with these scales. Return its numbers, and the weight."""
    random = torch.Generator().manual_seed(0)
    numbers = torch.randn(3, 64, 40, generator=random).to(torch.float8_e4m3fn)
    name = "model.layers.0.mlp.experts.down_proj"
    save_file({name: numbers, f"{name}_scale_inv": scales}, folder / "model.safetensors")
    quantization = {"quant_method": "fp8", "weight_block_size": block and list(block)}
    (folder / "config.json").write_text(json.dumps({"quantization_config": quantization}))
    return numbers.float(), SourceWeights(folder).tensor(name)


EXPONENTS_EBC = torch.randint(120, 130, (3, 2, 3), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [torch.float32, torch.float8_e8m0fnu, torch.uint8])
def test_a_stack_of_experts_has_a_scale_for_each_block_of_each_expert(
    kind: torch.dtype, tmp_path: Path
) -> None:
    scales_EBC = (EXPONENTS_EBC - 127.0).exp2()
    held = EXPONENTS_EBC.to(kind) if kind == torch.uint8 else scales_EBC.to(kind)
    numbers, weight = stacked(tmp_path, held)
    spread = scales_EBC.repeat_interleave(32, 1).repeat_interleave(16, 2)[..., :40]
    assert torch.equal(weight, numbers * spread)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1), (3,), (3, 1, 1), (3, 64), (3, 64, 1)])
def test_a_stack_of_experts_has_one_scale_or_one_for_each_expert_or_output(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    scales = torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.5
    numbers, weight = stacked(tmp_path, scales, None)
    assert torch.equal(weight, numbers * scales.reshape(*shape, *[1] * (3 - len(shape))))


@pytest.mark.parametrize("shape", [(2,), (4, 2, 3), (3, 2, 2), (3, 64)])
def test_scales_that_fit_no_blocks_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="which do not fit"):
        stacked(tmp_path, torch.ones(shape))


def test_blocks_at_the_end_of_a_weight_may_be_smaller(tmp_path: Path) -> None:
    save_model(FAST["llama"](), tmp_path)
    before = load_file(tmp_path / "model.safetensors")
    in_fp8(tmp_path, (40, 48))
    source = SourceWeights(tmp_path)
    name = "model.layers.0.mlp.gate_proj.weight"
    error = (source.tensor(name) - before[name]).norm() / before[name].norm()
    assert error < 0.04
    assert source.shape(name) == before[name].shape


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("name", SOURCES)
def test_weights_go_straight_into_4_or_8_bits(name: str, quantization: Any, tmp_path: Path) -> None:
    """They are those of the same model that was published in bf16."""
    config, quantise, reference = SOURCES[name]
    save_model(config(), tmp_path / "quantised")
    quantise(tmp_path / "quantised")
    plain = named_class(tmp_path / "quantised").from_pretrained(
        tmp_path / "quantised", dtype=torch.float32, quantization_config=reference
    )
    save_model(config(), tmp_path / "plain")
    plain.save_pretrained(tmp_path / "plain")
    one, other = (load(tmp_path / each, quantization=quantization) for each in ("quantised", "plain"))
    modules = [module for group in one.decoder.groups.values() for module in group.columns]
    for module in modules:
        layers = (base.model.get_submodule(module) for base in (one, other))
        assert torch.equal(*(weight_of(layer) for layer in layers)), module


def test_an_adapter_can_begin_with_what_quantisation_has_lost_of_fp8_weights(tmp_path: Path) -> None:
    from worker.engine.start.loftq import loftq

    save_model(MINISTRAL(), tmp_path)
    in_fp8(tmp_path)
    base = load(tmp_path, quantization="nf4")
    initial = loftq(base, LoraAdapter(r=2, init_lora_weights="loftq"), lambda: False)
    adapter = TrainableAdapter(base, "job", LoraAdapter(r=2, init_lora_weights="loftq"), 0, initial=initial)
    assert len(initial) == 2 * sum(len(group.columns) for group in base.decoder.groups.values())
    assert adapter.target_modules


def large() -> PretrainedConfig:
    return LlamaConfig(
        vocab_size=300, hidden_size=256, intermediate_size=512, num_hidden_layers=6, num_attention_heads=4
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_never_twice_in_memory(dtype: torch.dtype, tmp_path: Path) -> None:
    """The peak is the result and one more weight, in fp32 while it is computed."""
    save_model(large(), tmp_path)
    in_fp8(tmp_path, (128, 128))
    with Allocated() as allocated:
        model = load_plain(tmp_path, dtype)
    result = sum(parameter.nbytes for parameter in model.parameters())
    one = max(parameter.numel() for parameter in model.parameters()) * 4
    # safetensors makes the tensors that stay as they were read, such as the embedding: they are not counted
    assert 0.95 * result <= allocated.peak <= result + 2 * one


def test_experts_are_computed_one_by_one(tmp_path: Path) -> None:
    save_model(GPT_OSS(), tmp_path)
    in_mxfp4(tmp_path)
    with Allocated() as allocated:
        model = load_plain(tmp_path, torch.bfloat16)
    result = sum(parameter.nbytes for parameter in model.parameters())
    one = max(parameter.nbytes for parameter in model.parameters())
    assert result <= allocated.peak <= result + 2 * one


def test_no_copy_in_16_bits_is_left_of_weights_that_go_into_4(tmp_path: Path) -> None:
    save_model(large(), tmp_path)
    in_fp8(tmp_path, (128, 128))
    entry = TINY.model_copy(update={"quantization": "nf4"})
    with Allocated() as allocated:
        model = load_model(entry, tmp_path, CPU, torch.bfloat16)
    one = max(parameter.numel() for parameter in model.parameters()) * 4
    assert allocated.peak <= allocated.live + 6 * one


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "compressed-tensors"])
def test_weights_in_another_form_are_refused_with_what_to_do(method: str, tmp_path: Path) -> None:
    save_model(FAST["llama"](), tmp_path)
    in_fp8(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(
        config.replace('"quant_method": "fp8"', f'"quant_method": "{method}"')
    )
    with pytest.raises(JobError, match=rf"quantised \({method}\).*training\.quantization") as refused:
        load(tmp_path)
    assert refused.value.code == "unsupported_architecture"


def test_numbers_in_8_bits_whose_scales_have_another_name_are_refused(tmp_path: Path) -> None:
    save_model(FAST["llama"](), tmp_path)
    in_fp8(tmp_path)
    weights = load_file(file := tmp_path / "model.safetensors")
    save_file({name.replace("_scale_inv", "_scale"): each for name, each in weights.items()}, file)
    with pytest.raises(JobError, match=r"proj\.weight is in F8_E4M3, and its scales have no name"):
        load(tmp_path)
