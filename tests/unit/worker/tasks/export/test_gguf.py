"""GGUF files, loaded by llama.cpp: the same tokens, answers and probabilities as PEFT's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, Qwen3Config, Qwen3MoeConfig

from core.errors import JobError
from core.exports.requests import GgufAdapterExport, GgufExport
from tests.fixtures.models.random_adapters import VOCABULARY, MakeSource, save_base, small_llama
from tests.fixtures.outside.llamacpp import llama_cpp
from tests.unit.worker.tasks.export.test_lora import TOKENS, logits, lora
from worker.tasks.export.gguf_files.adapter import write_gguf_adapter
from worker.tasks.export.gguf_files.model import write_gguf
from worker.tasks.export.source import Source

PROMPT = TOKENS[0].tolist()
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SMALL_QWEN = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": VOCABULARY}
BASES = {
    "llama": small_llama(),
    "llama 3's frequencies": small_llama(rope_parameters=LLAMA3),
    "untied head": small_llama(tie_word_embeddings=False),
    "qwen3": Qwen3Config(
        **SMALL_QWEN, num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=512
    ),
}


def top(of: Tensor, count: int = 5) -> dict[int, float]:
    found = torch.log_softmax(of[0, -1].double(), -1).topk(count)
    return dict(zip(found.indices.tolist(), found.values.tolist(), strict=True))


@pytest.mark.parametrize("kind", BASES)
def test_a_merged_model_in_16_bits_gives_the_same_probabilities(
    kind: str, tokenizer: Any, make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source(lora(), base=save_base(BASES[kind], tokenizer, tmp_path / "base"))
    report = write_gguf(source, GgufExport(format="gguf"), tmp_path)

    expected = top(logits(source.base_folder, source.folder))
    with llama_cpp(tmp_path / "model-f16.gguf") as runtime:
        assert runtime.top(PROMPT, 5) == pytest.approx(expected, abs=0.01)
    assert report["after_rounding"]["same_top_token"] > 0.95  # random weights have near ties
    assert (tmp_path / "Modelfile").read_text() == "FROM ./model-f16.gguf\n"


@pytest.mark.parametrize("quantization", ["q8_0", "q4_0"])
def test_a_quantised_model_is_as_far_off_as_the_report_says(
    quantization: Any, make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source(lora())
    report = write_gguf(source, GgufExport(format="gguf", quantization=quantization), tmp_path)

    assert 0 < report["after_merging"]["mean_kl_nats"] < report["after_rounding"]["mean_kl_nats"] < 0.5
    expected = top(logits(source.base_folder, source.folder), 1)
    with llama_cpp(tmp_path / f"model-{quantization}.gguf") as runtime:
        found = runtime.top(PROMPT, 20)
    assert found[next(iter(expected))] == pytest.approx(next(iter(expected.values())), abs=1.0)


def test_an_adapter_beside_the_base_model_gives_the_same_probabilities(
    base_folder: Path, make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source(lora())
    write_gguf_adapter(source, GgufAdapterExport(format="gguf_adapter"), tmp_path)
    write_base_as_gguf(source, tmp_path / "base")

    expected = top(logits(base_folder, source.folder))
    with llama_cpp(tmp_path / "base" / "model-f16.gguf", tmp_path / "adapter.gguf") as runtime:
        assert runtime.top(PROMPT, 5) == pytest.approx(expected, abs=0.01)


QWEN_3_MOE = Qwen3MoeConfig(
    **SMALL_QWEN,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
    max_position_embeddings=512,
    num_experts=4,
    num_experts_per_tok=2,
    moe_intermediate_size=32,
    norm_topk_prob=True,
)
ON_EXPERTS = {
    "target_modules": ["q_proj"],
    "target_parameters": ["experts.gate_up_proj", "experts.down_proj"],
}


def test_experts_that_llama_cpp_would_weigh_in_another_way_are_refused(
    tokenizer: Any, make_source: MakeSource, tmp_path: Path
) -> None:
    config = Qwen3MoeConfig(**{**QWEN_3_MOE.to_dict(), "norm_topk_prob": False})
    source = make_source(lora(**ON_EXPERTS), base=save_base(config, tokenizer, tmp_path / "base"))
    for write, form in (
        (write_gguf, GgufExport(format="gguf")),
        (write_gguf_adapter, GgufAdapterExport(format="gguf_adapter")),
    ):
        with pytest.raises(JobError, match="norm_topk_prob"):
            write(source, form, tmp_path)


def test_an_embedding_that_the_head_no_longer_is_stands_beside_it(
    base_folder: Path, make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source(lora(modules_to_save=["embed_tokens"]))
    assert source.config.tie_word_embeddings
    write_gguf(source, GgufExport(format="gguf"), tmp_path)
    expected = top(logits(base_folder, source.folder))
    with llama_cpp(tmp_path / "model-f16.gguf") as runtime:
        assert runtime.top(PROMPT, 5) == pytest.approx(expected, abs=0.01)


def test_llama_cpp_renders_and_reads_chats_as_the_trainer_did(
    tokenizer: Any, make_source: MakeSource, tmp_path: Path
) -> None:
    write_gguf(make_source(lora()), GgufExport(format="gguf"), tmp_path)
    chat = [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": "Was kostet 1 kg Äpfel im Jahr 2024? 12345\n\tx = {'a': 1}  😀"},
    ]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    with llama_cpp(tmp_path / "model-f16.gguf") as runtime:
        assert runtime.render(chat) == text
        assert runtime.tokens(text) == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_an_unknown_architecture_is_refused_with_the_way_out(
    tokenizer: Any, make_source: MakeSource, tmp_path: Path
) -> None:
    config = GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=VOCABULARY)
    source = make_source(
        lora(target_modules=["c_attn"]), base=save_base(config, tokenizer, tmp_path / "base")
    )
    with pytest.raises(JobError, match="the type gpt2 are not converted"):
        write_gguf(source, GgufExport(format="gguf"), tmp_path)


def write_base_as_gguf(source: Source, folder: Path) -> None:
    """Write the base model itself: as a whole model that nobody has trained."""
    folder.mkdir()
    whole = Source("adapter-0", "base", "full", source.entry, source.base_folder, source.base_folder)
    write_gguf(whole, GgufExport(format="gguf"), folder)
