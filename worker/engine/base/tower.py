"""The tower of a base model, with its connector: it makes of an image one vector for each of its tokens.

transformers gives all its models of texts and images one method for this, `get_image_features`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Tower:
    """The frozen tower of a resident base model."""

    def __init__(self, model: nn.Module) -> None:
        self._model: Any = model

    @torch.no_grad()
    def vectors(self, arguments: Mapping[str, Tensor]) -> Tensor:
        """Return the vectors of one image, [I, D]. The model's processor has made the arguments of it."""
        device = next(self._model.parameters()).device
        inputs = {name: argument.to(device) for name, argument in arguments.items()}
        found = self._model.get_image_features(**inputs, return_dict=True).pooler_output
        vectors: Tensor = torch.cat(list(found)) if isinstance(found, list | tuple) else found
        return vectors.flatten(0, -2)
