"""A tiny Llama with random weights, as a folder that the engine loads like any other."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from core.catalog import BaseModelEntry
from worker.engine import base_model
from worker.engine.base_model import ResidentBase

TINY = BaseModelEntry(
    id="tiny",
    repository="tests/tiny",
    source="folder",
    revision="1",
    license="MIT",
    max_length=512,
    path=Path(),
)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=512,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    vocabulary = {f"<{index}>": index for index in range(300)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<0>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<0>").save_pretrained(folder)
    return folder


@pytest.fixture
def base(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> ResidentBase:
    """In fp32, so that differences show."""
    monkeypatch.setattr(base_model, "compute_dtype", lambda _device: torch.float32)
    return ResidentBase(TINY, tiny_folder, "0" * 64, torch.device("cpu"))
