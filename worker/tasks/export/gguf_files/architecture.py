"""How a model of transformers becomes one of llama.cpp: its architecture, and its tensors' names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gguf
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from core.errors import JobError

ROTATED = re.compile(r"\.(q|k)_proj$")
OF_EXPERTS = re.compile(r"\.experts\.(gate_up|down)_proj$")


@dataclass(frozen=True)
class Architecture:
    """llama.cpp's name of an architecture.

    `interleaves` says whether llama.cpp rotates neighbouring pairs of a head's outputs. transformers always
    rotates the first half against the second, so the outputs of queries and keys are put into another order.
    """

    arch: gguf.MODEL_ARCH
    interleaves: bool

    @property
    def name(self) -> str:
        name: str = gguf.MODEL_ARCH_NAMES[self.arch]
        return name


ARCHITECTURES = {
    "LlamaForCausalLM": Architecture(gguf.MODEL_ARCH.LLAMA, interleaves=True),
    "MistralForCausalLM": Architecture(gguf.MODEL_ARCH.LLAMA, interleaves=True),
    "Qwen2ForCausalLM": Architecture(gguf.MODEL_ARCH.QWEN2, interleaves=False),
    "Qwen3ForCausalLM": Architecture(gguf.MODEL_ARCH.QWEN3, interleaves=False),
    "Qwen3MoeForCausalLM": Architecture(gguf.MODEL_ARCH.QWEN3MOE, interleaves=False),
}


def architecture_of(config: Any) -> Architecture:
    """Return the architecture of a text model. Raises JobError for one that is not converted."""
    named = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type, str(config.model_type))
    if (found := ARCHITECTURES.get(named)) is None:
        raise JobError(
            "not_convertible",
            f"Models of the architecture {named} are not converted to GGUF here, only "
            f"{', '.join(ARCHITECTURES)}. Export the merged model, and convert it with llama.cpp's script.",
            "format",
        )
    if found.arch is gguf.MODEL_ARCH.QWEN3MOE:
        _require_usual_experts(config)
    return found


def _require_usual_experts(config: Any) -> None:
    """Raise JobError for experts that llama.cpp would compute in another way than transformers."""
    if not config.norm_topk_prob or config.mlp_only_layers or config.decoder_sparse_step != 1:
        raise JobError(
            "not_convertible",
            "llama.cpp computes this architecture only with experts in all layers, whose weights add up to 1 "
            "for each token (norm_topk_prob). Export the merged model for another runtime.",
            "format",
        )


def matrices_in(name: str, parameter: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield llama.cpp's parts of a parameter, as views: gate and up of experts are two for it."""
    if (of_experts := OF_EXPERTS.search(name)) is None:
        yield name, parameter
    elif of_experts[1] == "down":
        yield f"{name}.weight", parameter
    else:
        for part, values in zip(("gate", "up"), parameter.chunk(2, dim=1), strict=True):
            yield name.replace("gate_up_proj", f"{part}_proj.weight"), values


def head_size(config: Any) -> int:
    """Return the numbers of an attention head's query."""
    given: int | None = getattr(config, "head_dim", None)
    return given or config.hidden_size // config.num_attention_heads


class TensorNames:
    """llama.cpp's names for the tensors of one model."""

    def __init__(self, config: Any) -> None:
        """Raises JobError for an architecture that is not converted.

        `config` is that of the whole model. If it also processes images, the text model is a part of it.
        """
        self._tied = config.tie_word_embeddings
        self._config = config.get_text_config()
        self.architecture = architecture_of(self._config)
        self._names = gguf.get_tensor_name_map(self.architecture.arch, self._config.num_hidden_layers)

    def name(self, name: str) -> str:
        """Return llama.cpp's name for a parameter of transformers. Raises JobError if it has none."""
        if name.startswith("lm_head.") and self._tied:
            raise JobError(
                "not_convertible", "The model's head is its embedding, so llama.cpp has none.", "format"
            )
        alone = name.replace("language_model.", "", 1)
        found: str | None = self._names.get_name(alone, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise JobError("not_convertible", f"llama.cpp has no tensor for the model's {name}.", "format")
        return found

    def ordered(self, layer: str, tensor: Tensor) -> Tensor:
        """Return the outputs (the first axis) of a layer's tensor in llama.cpp's order."""
        heads = self._heads(layer)
        if heads is None:
            return tensor
        return tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(tensor.shape)

    def restored(self, layer: str, tensor: Tensor) -> Tensor:
        """Undo `ordered`."""
        heads = self._heads(layer)
        if heads is None:
            return tensor
        return tensor.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(tensor.shape)

    def _heads(self, layer: str) -> int | None:
        """Return the number of heads whose outputs change their order; None if none do."""
        rotated = ROTATED.search(layer)
        if rotated is None or not self.architecture.interleaves:
            return None
        heads: int = (
            self._config.num_key_value_heads if rotated[1] == "k" else self._config.num_attention_heads
        )
        return heads
