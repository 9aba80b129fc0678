"""Inputs that each layer has beside the hidden states: Gemma 4's embeddings by layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from worker.engine.decoders.architecture import norm_weight
from worker.engine.decoders.projections import MergedProjections
from worker.engine.kernels.frozen_weight import FrozenWeight

PROJECTION = "per_layer_model_projection"


@dataclass(frozen=True)
class OwnInputs:
    """Each layer's input is the sum of an embedding of the token and a projection of the first hidden state.

    `name` is the name of the projection's group, and P the width of one layer's input.
    """

    name: str
    projection: MergedProjections
    norm_P: Tensor
    eps: float
    embedding: Any
    projection_scale: float
    sum_scale: float

    @classmethod
    def of(cls, model: nn.Module, body: Any, prefix: str, eps: float) -> "OwnInputs | None":
        """Read them from the text model, which has the name `prefix`; None if it has none."""
        if getattr(body, PROJECTION, None) is None:
            return None
        name = f"{prefix}.{PROJECTION}"
        return cls(
            name,
            MergedProjections.of(model, [name]),
            norm_weight(body.per_layer_projection_norm),
            eps,
            body.embed_tokens_per_layer,
            body.per_layer_model_projection_scale,
            body.per_layer_input_scale,
        )

    @property
    def weight(self) -> FrozenWeight:
        return self.projection.weight

    def by_layer(
        self, tokens_T: Tensor, projected_TN: Tensor, norm: Callable[[Tensor, Tensor, float], Tensor]
    ) -> Sequence[Tensor]:
        """Return the input of each layer, [T, P], of the projections of all layers side by side."""
        width = len(self.norm_P)
        projected_TNP = (projected_TN * self.projection_scale).unflatten(1, (-1, width))
        embedded_TNP = self.embedding(tokens_T).unflatten(1, (-1, width))
        sum_TNP = (norm(projected_TNP, self.norm_P, self.eps) + embedded_TNP) * self.sum_scale
        return sum_TNP.unbind(1)
