"""How a model of transformers becomes one of llama.cpp: its architecture, and its tensors' names."""

import re
from collections.abc import Iterator
from typing import Any

import gguf
from torch import Tensor

from core.errors import JobError
from core.portability.converted import CONVERTED, CONVERTED_TITLES, Converted

ARCHITECTURES = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
ROTATED = re.compile(r"\.(q|k)_proj$")
OF_EXPERTS = re.compile(r"\.experts\.(gate_up|down)_proj$")


def architecture_of(config: Any) -> Converted:
    """Return the architecture of a text model. Raises JobError for one that is not converted."""
    if (found := CONVERTED.get(config.model_type)) is None:
        raise JobError(
            "not_convertible",
            f"Models of the type {config.model_type} are not converted to GGUF here, only "
            f"{CONVERTED_TITLES}. Export the merged model, and convert it with llama.cpp's script.",
            "format",
        )
    if config.model_type == "qwen3_moe":
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
        arch = ARCHITECTURES[self.architecture.name]
        self._names = gguf.get_tensor_name_map(arch, self._config.num_hidden_layers)

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
