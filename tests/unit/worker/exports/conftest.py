"""A tiny Llama with a small tokenizer of SmolLM2's kind, and adapters on it with random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedTokenizerFast

from core.catalog import BaseModelEntry
from tests.fixtures.paths import REPOSITORY
from tests.fixtures.tiny import TEMPLATE
from worker.engine.adapters.saving import save_adapter
from worker.exports.source import Source

ENTRY = BaseModelEntry(
    id="tiny", repository="example/tiny", source="hub", revision="1", license="MIT", max_length=512
)
MakeSource = Callable[..., Source]
VOCABULARY = 640  # more than the tokenizer has, as many models have


def small_llama(**options: Any) -> LlamaConfig:
    """Return a Llama whose weights have rows of multiples of 32, as GGUF's blocks need."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": VOCABULARY}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
    return LlamaConfig(**{**sizes, **heads, "max_position_embeddings": 512, **options})


def save_base(config: PretrainedConfig, tokenizer: Any, folder: Path) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Return a tokenizer that splits text as SmolLM2's does, learnt from the README."""
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    learnt.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 40,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    learnt.train([str(REPOSITORY / "README.md")], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=learnt, bos_token="<|im_start|>", eos_token="<|im_end|>", chat_template=TEMPLATE
    )


@pytest.fixture(scope="session")
def base_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(small_llama(), tokenizer, tmp_path_factory.mktemp("base"))


@pytest.fixture
def make_source(base_folder: Path, tokenizer: Any, tmp_path: Path) -> MakeSource:
    """Return a function that saves an adapter with random weights, as a job would publish it."""

    def make(config: PeftConfig, base: Path = base_folder, type_: str = "lora") -> Source:
        folder = tmp_path / "adapter"
        torch.manual_seed(1)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, 0, 0.1)
        save_adapter(model, ENTRY, folder)
        tokenizer.save_pretrained(folder)
        return Source("adapter-1", "ft:tiny:project::1", type_, ENTRY, folder, base)

    return make
