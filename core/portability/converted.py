"""The architectures of text models that exports convert to GGUF, for llama.cpp and Ollama."""

from collections.abc import Mapping
from typing import NamedTuple


class Converted(NamedTuple):
    """An architecture: what people call it, and llama.cpp's name.

    `interleaves` says whether llama.cpp rotates neighbouring pairs of a head's outputs where transformers
    rotates the first half against the second. Outputs of queries and keys are then put into another order.
    """

    title: str
    name: str
    interleaves: bool = False
    adapts_all: bool = True
    """Whether llama.cpp adds factors to each layer that has some. Else the adapter must be merged."""


LLAMA = Converted("Llama", "llama", interleaves=True)
CONVERTED: Mapping[str, Converted] = {
    "llama": LLAMA,
    "mistral": Converted("Mistral", "llama", interleaves=True),
    "ministral3": Converted("Ministral 3", "mistral3", interleaves=True),
    "mixtral": Converted("Mixtral", "llama", interleaves=True),
    "qwen2": Converted("Qwen 2", "qwen2"),
    "qwen3": Converted("Qwen 3", "qwen3"),
    "qwen3_moe": Converted("Qwen 3 MoE", "qwen3moe"),
    "qwen3_next": Converted("Qwen 3 Next", "qwen3next"),
    "qwen3_5_text": Converted("Qwen 3.5", "qwen35"),
    "qwen3_5_moe_text": Converted("Qwen 3.5 MoE", "qwen35moe"),
    "gpt_oss": Converted("gpt-oss", "gpt-oss"),
    "gemma": Converted("Gemma", "gemma"),
    "gemma2": Converted("Gemma 2", "gemma2"),
    "gemma3_text": Converted("Gemma 3", "gemma3"),
    "gemma4_text": Converted("Gemma 4", "gemma4", adapts_all=False),
    "glm": Converted("GLM", "chatglm"),
    "glm4": Converted("GLM 4", "glm4"),
    "glm4_moe": Converted("GLM 4.5", "glm4moe"),
    "granite": Converted("Granite 3", "granite", interleaves=True),
    "granitemoehybrid": Converted("Granite 4", "granitehybrid", interleaves=True),
    "lfm2": Converted("LFM 2", "lfm2"),
    "lfm2_moe": Converted("LFM 2 MoE", "lfm2moe"),
    "nemotron_h": Converted("Nemotron 3", "nemotron_h"),
    "phi3": Converted("Phi 3", "phi3"),
    "smollm3": Converted("SmolLM 3", "smollm3", interleaves=True),
    "olmo2": Converted("OLMo 2", "olmo2"),
    "olmo3": Converted("OLMo 3", "olmo2"),
    "ernie4_5": Converted("Ernie 4.5", "ernie4_5"),
    "seed_oss": Converted("Seed OSS", "seed_oss"),
    "exaone4": Converted("EXAONE 4", "exaone4"),
    # Types of models that transformers computes as a Llama
    **dict.fromkeys(("exaone", "internlm3", "iquestcoder"), LLAMA),
}
"""By the `model_type` of the text model"""
_titles = list(dict.fromkeys(each.title for each in CONVERTED.values()))
CONVERTED_TITLES = f"{', '.join(_titles[:-1])} and {_titles[-1]}"
