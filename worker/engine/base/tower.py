"""The tower of a base model, with its connector: it makes of an image one vector for each of its tokens.

transformers gives all its models of texts and images one method for this, `get_image_features`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from worker.rows.image_store import ImageStore, number_type_of


class Tower:
    """The frozen tower of a resident base model, which computes in `dtype`."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self._model: Any = model
        self._number_type = number_type_of(str(dtype))

    def new_store(self, folder: Path | None = None) -> ImageStore:
        """Return an empty store for the vectors of images."""
        return ImageStore(self._model.config.get_text_config().hidden_size, self._number_type, folder)

    def see(self, arrays: Mapping[str, NDArray[np.generic]], store: ImageStore, first: int) -> int:
        """Write the vectors of one image to the store, from the number `first` on. Return their count."""
        vectors_ID = self.vectors({name: torch.from_numpy(array) for name, array in arrays.items()})
        kept_ID = vectors_ID.to(getattr(torch, self._number_type)).cpu().contiguous()
        store.write(first, kept_ID.view(torch.uint8).numpy())
        return len(kept_ID)

    @torch.no_grad()
    def vectors(self, arguments: Mapping[str, Tensor]) -> Tensor:
        """Return the vectors of one image, [I, D]. The model's processor has made the arguments of it."""
        device = next(self._model.parameters()).device
        inputs = {name: argument.to(device) for name, argument in arguments.items()}
        found = self._model.get_image_features(**inputs, return_dict=True).pooler_output
        vectors: Tensor = torch.cat(list(found)) if isinstance(found, list | tuple) else found
        return vectors.flatten(0, -2)
