"""The tokens of a micro-batch that stand for images, and the vectors that take the place of embeddings."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.device.transfer import on_device
from worker.rows.image_store import FIRST_IMAGE_TOKEN, ImageStore


class ImageVectors:
    """The vectors of the images on a token axis, as it grows."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._count = 0

    def add(self, tokens_L: NDArray[np.int32], images: ImageStore | None) -> NDArray[np.int32]:
        """Take the vectors of those tokens that stand for images. Return the tokens as the axis has them."""
        at_I = np.flatnonzero(tokens_L >= FIRST_IMAGE_TOKEN)
        if not len(at_I):
            return tokens_L
        assert images is not None, "tokens of images come with their vectors"
        found = torch.from_numpy(images.read(tokens_L[at_I] - FIRST_IMAGE_TOKEN))
        self._parts.append(found.view(getattr(torch, images.number_type)))
        tokens_L = tokens_L.copy()
        tokens_L[at_I] = FIRST_IMAGE_TOKEN + self._count + np.arange(len(at_I))
        self._count += len(at_I)
        return tokens_L

    def on(self, device: torch.device) -> Tensor | None:
        """Return the vectors on the device, [I, D]; None if there are none."""
        return on_device(torch.cat(self._parts), device) if self._parts else None


def is_image(tokens_T: Tensor) -> Tensor:
    """Return which tokens stand for a part of an image."""
    return tokens_T >= FIRST_IMAGE_TOKEN


def embedded(embedding: Callable[[Tensor], Tensor], tokens_T: Tensor, images_ID: Tensor | None) -> Tensor:
    """Return the embeddings of words, [T, D], and the images' vectors where tokens stand for images."""
    if images_ID is None:
        return embedding(tokens_T)
    is_image_T = is_image(tokens_T)
    x_TD = embedding(torch.where(is_image_T, 0, tokens_T))
    at_T = (tokens_T - FIRST_IMAGE_TOKEN).clamp_min(0)
    return torch.where(is_image_T[:, None], images_ID[at_T].to(x_TD.dtype), x_TD)
