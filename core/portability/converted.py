"""The architectures of text models that exports convert to GGUF, for llama.cpp and Ollama."""

from collections.abc import Mapping
from typing import NamedTuple


class Converted(NamedTuple):
    """An architecture: what people call it, and llama.cpp's name.

    `interleaves` says whether llama.cpp rotates neighbouring pairs of a head's outputs. transformers always
    rotates the first half against the second, so the outputs of queries and keys are put into another order.
    """

    title: str
    name: str
    interleaves: bool


LLAMA = Converted("Llama", "llama", interleaves=True)
CONVERTED: Mapping[str, Converted] = {
    "llama": LLAMA,
    "mistral": Converted("Mistral", "llama", interleaves=True),
    "qwen2": Converted("Qwen 2", "qwen2", interleaves=False),
    "qwen3": Converted("Qwen 3", "qwen3", interleaves=False),
    "qwen3_moe": Converted("Qwen 3 MoE", "qwen3moe", interleaves=False),
    # Types of models that transformers computes as a Llama
    **dict.fromkeys(("exaone", "internlm3", "iquestcoder"), LLAMA),
}
"""By the `model_type` of the text model"""
_titles = list(dict.fromkeys(each.title for each in CONVERTED.values()))
CONVERTED_TITLES = f"{', '.join(_titles[:-1])} and {_titles[-1]}"
