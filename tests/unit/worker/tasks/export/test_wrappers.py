"""Exports of adapters on a model of texts and images: PEFT's answers, with the tower left as it is."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import Mistral3Config

from core.errors import JobError
from core.exports.requests import GgufAdapterExport, GgufExport, LoraExport, MergedExport, MlxExport
from core.methods.low_rank import LoraAdapter
from core.portability.rules import reports_by_rule
from core.portability.start_lines import FOLDER
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.engine.architectures import TOWER
from tests.fixtures.models.quantised_source import in_fp8
from tests.fixtures.models.random_adapters import MakeSource, save_base, small_llama
from tests.fixtures.models.tiny import named_class
from tests.fixtures.outside.llamacpp import llama_cpp
from tests.unit.worker.tasks.export.test_gguf import PROMPT, top
from tests.unit.worker.tasks.export.test_lora import TOKENS, logits, lora
from worker.tasks.export.gguf_files.adapter import write_gguf_adapter
from worker.tasks.export.gguf_files.model import write_gguf
from worker.tasks.export.lora import write_lora, write_mlx
from worker.tasks.export.merged import write_merged
from worker.tasks.export.source import Source

LAYERS = [f"model.language_model.layers.{number}" for number in range(2)]
MODULES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")
TEXT_PART = lora(target_modules=[f"{layer}.{module}" for layer in LAYERS for module in MODULES])


@pytest.fixture
def source(make_source: MakeSource, tokenizer: Any, tmp_path: Path) -> Source:
    """Return an adapter on the text part of a tiny Mistral Small 3."""
    text = {**small_llama(tie_word_embeddings=False).to_dict(), "model_type": "mistral", "head_dim": 16}
    vision = {**TOWER, "model_type": "pixtral"}
    config = Mistral3Config(text_config=text, vision_config=vision, tie_word_embeddings=False)
    return make_source(TEXT_PART, base=save_base(config, tokenizer, tmp_path / "base"))


def test_the_merged_model_is_whole_and_answers_alike(source: Source, tmp_path: Path) -> None:
    processor = source.base_folder / "preprocessor_config.json"
    processor.write_text('{"image_processor_type": "PixtralImageProcessor"}')
    report = write_merged(source, MergedExport(format="merged", precision="fp32"), tmp_path / "merged")
    merged = named_class(tmp_path / "merged").from_pretrained(tmp_path / "merged", dtype="auto")
    with torch.inference_mode():
        found = merged(input_ids=TOKENS).logits
    assert torch.allclose(found, logits(source.base_folder, source.folder), atol=1e-4)
    assert report["after_merging"]["mean_kl_nats"] < 1e-6
    before, after = (
        load_file(each / "model.safetensors") for each in (source.base_folder, tmp_path / "merged")
    )
    assert before.keys() == after.keys()
    towers = [name for name in before if "vision_tower" in name]
    assert towers
    assert all(torch.equal(before[name], after[name]) for name in towers)
    assert (tmp_path / "merged" / processor.name).read_bytes() == processor.read_bytes()


def test_the_merged_model_of_weights_in_fp8_is_a_plain_one(source: Source, tmp_path: Path) -> None:
    in_fp8(source.base_folder)
    write_merged(source, MergedExport(format="merged"), tmp_path / "merged")
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    weights = load_file(tmp_path / "merged" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}


def test_a_plain_lora_names_the_layers_of_the_text_part_alone(source: Source, tmp_path: Path) -> None:
    write_lora(source, LoraExport(format="lora"), tmp_path / "lora")
    expected = logits(source.base_folder, source.folder)
    assert torch.allclose(logits(source.base_folder, tmp_path / "lora"), expected, atol=1e-5)
    targets = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())["target_modules"]
    assert all(name.startswith("model.language_model.layers.") for name in targets)
    names = load_file(tmp_path / "lora" / WEIGHTS_NAME)
    assert all(name.startswith("base_model.model.model.language_model.layers.") for name in names)


def test_llama_cpp_answers_alike_with_the_text_part(source: Source, tmp_path: Path) -> None:
    write_gguf(source, GgufExport(format="gguf"), tmp_path)
    expected = top(logits(source.base_folder, source.folder))
    with llama_cpp(tmp_path / "model-f16.gguf") as runtime:
        assert runtime.top(PROMPT, 5) == pytest.approx(expected, abs=0.01)


def test_llama_cpp_answers_alike_with_an_adapter_beside_the_text_part(source: Source, tmp_path: Path) -> None:
    write_gguf_adapter(source, GgufAdapterExport(format="gguf_adapter"), tmp_path)
    (tmp_path / "whole").mkdir()
    whole = Source("adapter-0", "base", "full", source.entry, source.base_folder, source.base_folder)
    write_gguf(whole, GgufExport(format="gguf"), tmp_path / "whole")
    expected = top(logits(source.base_folder, source.folder))
    with llama_cpp(tmp_path / "whole" / "model-f16.gguf", tmp_path / "adapter.gguf") as runtime:
        assert runtime.top(PROMPT, 5) == pytest.approx(expected, abs=0.01)


def test_names_that_mlx_would_ignore_are_refused(source: Source, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="mlx-lm would ignore the names"):
        write_mlx(source, MlxExport(format="mlx"), tmp_path / "mlx")


def test_the_code_of_the_card_loads_the_whole_model(source: Source) -> None:
    reports = reports_by_rule(LoraAdapter(r=4).model_dump(), str(source.base_folder), "main")
    code = next(each.start_line for each in reports if each.runtime == "peft")
    assert code is not None
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(f"{code.replace(FOLDER, str(source.folder))}\nprint(type(base).__name__)", {})  # noqa: S102
    assert "Mistral3ForConditionalGeneration" in shown.getvalue()
