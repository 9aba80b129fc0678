"""The configuration of a Llama in the head of a GGUF file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.base_files.gguf import GgufHead

NAMES = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "vocab_size": "vocab_size",
}
ARCHITECTURE, HEAD = "general.architecture", "output.weight"


def configuration_in(file: Path) -> Mapping[str, Any]:
    """Return the configuration as config.json would have it. Raises OSError, LookupError and ValueError."""
    with file.open("rb") as content:
        head = GgufHead(content)
        found = dict(head.pairs())
        tensors = set(head.tensors())
    architecture = found[ARCHITECTURE]
    if not isinstance(architecture, bytes):
        raise ValueError(f"{ARCHITECTURE} must be a text")
    kind = architecture.decode("utf-8", "replace")
    numbers = {known: found[f"{kind}.{name}"] for name, known in NAMES.items() if f"{kind}.{name}" in found}
    return {"model_type": kind, "tie_word_embeddings": HEAD not in tensors, **numbers}
