"""The linear layers of a base model, without its weights: what an adapter's factors must fit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from worker.engine.base.transformers_class import described_model
from worker.engine.decoders.portable import body_of
from worker.tasks.importing.refusal import refusal, shown


@dataclass(frozen=True)
class Layer:
    """A linear layer. `fan_in_fan_out` says that its weight is stored as [inputs, outputs]."""

    inputs: int
    outputs: int
    fan_in_fan_out: bool


class Layers:
    """The layers of one base model, by their names, and how many tokens it knows."""

    def __init__(self, folder: Path) -> None:
        """Read them from the configuration in the base model's folder. No weights are loaded."""
        model: Any = described_model(folder)
        self._prefix: str = model.base_model_prefix
        body = body_of(model)
        self._body = next(name for name, module in model.named_modules() if module is body)
        self.tokens: int = model.get_input_embeddings().num_embeddings
        self._other = {name for name, _ in model.named_modules()}
        self.by_name = {
            name: layer for name, module in model.named_modules() if (layer := _layer_of(module)) is not None
        }

    def find(self, name: str) -> str:
        """Return the full name of the layer that a checkpoint calls `name`.

        Its names may lack the model's prefix, have another one before it, or be those of the text model that
        is a part of this one. Raises JobError if there is no such linear layer.
        """
        plain = name.removeprefix("module.").removeprefix("_orig_mod.")
        inner = plain.removeprefix("model.")
        for known in (plain, f"{self._prefix}.{plain}", inner, f"{self._body}.{inner}"):
            if known in self.by_name:
                return known
        what = "an adapted layer that is not linear" if plain in self._other else "no layer"
        leaves = sorted({each.rpartition(".")[2] for each in self.by_name})
        raise refusal(
            "wrong_base_model",
            f"The base model has {what} under {shown(name)}. Its linear layers are {', '.join(leaves)}. "
            "Check 'base_model', and that the adapter changes linear layers only.",
            "base_model",
        )


def _layer_of(module: nn.Module) -> Layer | None:
    if isinstance(module, nn.Linear):
        return Layer(module.in_features, module.out_features, fan_in_fan_out=False)
    if isinstance(module, Conv1D):
        inputs, outputs = module.weight.shape
        return Layer(inputs, outputs, fan_in_fan_out=True)
    return None
