"""The families of docs/models.md as GGUF: llama.cpp answers as PEFT does, with all layers adapted."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import JobError
from core.exports.requests import GgufAdapterExport, GgufExport
from tests.fixtures.models.gguf_families import EXPORTED, LONG_ROPE, REFUSED, of_family
from tests.fixtures.models.random_adapters import ENTRY, VOCABULARY, MakeSource
from tests.fixtures.models.tiny import save_model
from tests.fixtures.outside.llamacpp import llama_cpp
from tests.unit.worker.tasks.export.test_gguf import PROMPT, top, write_base_as_gguf
from tests.unit.worker.tasks.export.test_lora import logits, lora
from worker.engine.base.transformers_class import described_model
from worker.engine.kernels.experts.modules import experts_in, parameter_names
from worker.tasks.export.gguf_files.adapter import write_gguf_adapter
from worker.tasks.export.gguf_files.model import write_gguf
from worker.tasks.export.source import Source

SHORT = {"original_max_position_embeddings": 32, "factor": 4.0, "rope_theta": 1e3}
LEFT_OUT = ("router.proj", "per_layer_model_projection", "mixer.out_proj", "lm_head")


def everywhere(base: Path) -> Any:
    """Return a LoRA on all linear layers of the text model and on all experts, without routers."""
    model = described_model(base)
    body = model.get_decoder()
    text = [name for name, module in model.named_modules() if any(module is each for each in body.modules())]
    linear = [
        name
        for name in text
        if isinstance(model.get_submodule(name), torch.nn.Linear) and not name.endswith(LEFT_OUT)
    ]
    experts = experts_in(model).items()
    parameters = [f"{name}.{each}" for name, found in experts for each in parameter_names(found)]
    if model.config.model_type == "gemma4_text":  # the other one is refused
        parameters = [name for name in parameters if name.endswith("gate_up_proj")]
    return lora(target_modules=linear, target_parameters=parameters or None)


def save_family(name: str, tokenizer: Any, folder: Path, **rotation: float) -> Path:
    """Write a model in which no vector has equal numbers, so that each one and its order matter."""
    config = of_family(name)
    text = config.get_text_config()
    if rotation:
        text.rope_parameters = {**text.rope_parameters, **rotation}
    save_model(config, folder, lambda: tokenizer)
    file = folder / "model.safetensors"
    weights = load_file(file)
    torch.manual_seed(2)
    for weight in weights.values():
        if weight.dim() <= 1:
            weight.add_(torch.randn_like(weight), alpha=0.2)
    save_file(weights, file, metadata={"format": "pt"})
    return folder


@pytest.mark.family(6)
@pytest.mark.parametrize("name", EXPORTED)
def test_llama_cpp_answers_alike(name: str, tokenizer: Any, make_source: MakeSource, tmp_path: Path) -> None:
    base = save_family(name, tokenizer, tmp_path / "of")
    source = make_source(everywhere(base), base=base)
    write_gguf(source, GgufExport(format="gguf"), tmp_path)
    write_gguf_adapter(source, GgufAdapterExport(format="gguf_adapter"), tmp_path)
    write_base_as_gguf(source, tmp_path / "base")

    expected = top(logits(source.base_folder, source.folder))
    assert likeliest(expected, tmp_path / "model-f16.gguf") == pytest.approx(expected, abs=0.05)
    files = tmp_path / "base" / "model-f16.gguf", tmp_path / "adapter.gguf"
    assert likeliest(expected, *files) == pytest.approx(expected, abs=0.05)
    assert likeliest(expected, files[0]) != pytest.approx(expected, abs=0.5)


def likeliest(expected: dict[int, float], *files: Path, prompt: Sequence[int] = PROMPT) -> dict[int, float]:
    """Return the log-probabilities of these tokens."""
    with llama_cpp(*files) as runtime:
        found = runtime.top(prompt, VOCABULARY)
    return {token: found[token] for token in expected}


@pytest.mark.family(1)
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("gpt-oss, sinks and experts", SHORT),
        ("gpt-oss, sinks and experts", {**SHORT, "attention_factor": 0.8}),
        ("ministral 3, queries scaled by position", {"mscale_all_dim": 0.5}),
    ],
)
def test_positions_beyond_the_first_context_are_rotated_alike(
    name: str, changed: dict[str, float], tokenizer: Any, make_source: MakeSource, tmp_path: Path
) -> None:
    base = save_family(name, tokenizer, tmp_path / "of", **changed)
    source = make_source(everywhere(base), base=base)
    write_gguf(source, GgufExport(format="gguf"), tmp_path)
    prompt = [3 + (37 * position**2 + 11 * position) % 480 for position in range(300)]
    expected = top(logits(source.base_folder, source.folder, torch.tensor([prompt])))
    assert likeliest(expected, tmp_path / "model-f16.gguf", prompt=prompt) == pytest.approx(
        expected, abs=0.05
    )


@pytest.mark.family(1)
@pytest.mark.parametrize("name", ["qwen 3.5 moe", "gpt-oss, sinks and experts", "granite 4 moe"])
def test_experts_and_states_in_8_bits_are_as_far_off_as_the_report_says(
    name: str, tokenizer: Any, make_source: MakeSource, tmp_path: Path
) -> None:
    base = save_family(name, tokenizer, tmp_path / "of")
    source = make_source(everywhere(base), base=base)
    report = write_gguf(source, GgufExport(format="gguf", quantization="q8_0"), tmp_path)
    assert report["after_merging"]["mean_kl_nats"] < report["after_rounding"]["mean_kl_nats"] < 0.5
    expected = top(logits(source.base_folder, source.folder), 1)
    assert likeliest(expected, tmp_path / "model-q8_0.gguf") == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("name", REFUSED)
def test_what_llama_cpp_would_compute_in_another_way_is_refused_early(
    name: str, tokenizer: Any, tmp_path: Path
) -> None:
    """Neither weights nor an adapter are there."""
    config = of_family(name)
    config.architectures = ["Any"]
    config.save_pretrained(tmp_path)
    source = Source("adapter-1", "ft:tiny:project::1", "lora", ENTRY, tmp_path, tmp_path)
    writes: list[tuple[Any, Any]] = [(write_gguf, GgufExport(format="gguf"))]
    if REFUSED[name] != LONG_ROPE:  # an adapter says nothing of the rotation
        writes.append((write_gguf_adapter, GgufAdapterExport(format="gguf_adapter")))
    for write, asked in writes:
        with pytest.raises(JobError, match=re.escape(REFUSED[name])) as refused:
            write(source, asked, tmp_path)
        assert (refused.value.code, refused.value.param) == ("not_convertible", "format")


@pytest.mark.parametrize(
    ("name", "adapted"),
    [
        (
            "gemma 4, shared keys and inputs of layers",
            {"target_modules": ["per_layer_model_projection"]},
        ),
        (
            "gemma 4, experts beside the MLP",
            {"target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"]},
        ),
    ],
    ids=["a projection for all layers", "scaled experts"],
)
def test_factors_that_llama_cpp_would_load_in_vain_are_refused(
    name: str, adapted: dict[str, Any], tokenizer: Any, make_source: MakeSource, tmp_path: Path
) -> None:
    base = save_family(name, tokenizer, tmp_path / "of")
    source = make_source(lora(**adapted), base=base)
    with pytest.raises(JobError, match=r"without the adapter, or with another scale. Export the merged"):
        write_gguf_adapter(source, GgufAdapterExport(format="gguf_adapter"), tmp_path)
    write_gguf(source, GgufExport(format="gguf"), tmp_path)
    expected = top(logits(source.base_folder, source.folder))
    assert likeliest(expected, tmp_path / "model-f16.gguf") == pytest.approx(expected, abs=0.05)
