"""Losses from final hidden states, for heads that scale or cap their logits, or are trained."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from worker.engine.decoders.layer_weight import weight_of
from worker.engine.decoders.quantised_weight import QuantisedWeight
from worker.engine.kernels.frozen_weight import DenseWeight, FrozenWeight, product
from worker.engine.kernels.loss import TokenLosses, chunk_tokens, token_losses
from worker.engine.kernels.operations import operations_on

# Names in models' configurations
MULTIPLIERS = ("logit_scale", "lm_head_multiplier")  # Cohere's, Falcon-H1's
DIVISORS = ("logits_scaling",)  # Granite's


@dataclass(frozen=True)
class Head:
    """logits = cap(scale · hidden · weightᵀ), where cap(x) = softcap · tanh(x / softcap), or x."""

    layer: Any
    dtype: torch.dtype
    scale: float
    softcap: float | None

    @classmethod
    def of(cls, model: nn.Module) -> "Head":
        """Read the head from the configuration; `base/trial.py` compares its logits with the model's own."""
        config: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
        scale = 1.0
        for name in MULTIPLIERS:
            scale *= getattr(config, name, None) or 1.0
        for name in DIVISORS:
            scale /= getattr(config, name, None) or 1.0
        layer = model.get_output_embeddings()  # type: ignore[operator]
        return cls(layer, model.dtype, scale, getattr(config, "final_logit_softcapping", None))  # type: ignore[arg-type]

    @property
    def weight(self) -> FrozenWeight:
        """The layer's weight. One in 8 bits is dequantised in each product."""
        held: Tensor = self.layer.weight
        if held.is_floating_point():
            return DenseWeight(held)
        return QuantisedWeight([self.layer], [slice(len(held))], None)

    def scaled(self, hidden_SD: Tensor) -> Tensor:
        """Scale the hidden states, so that their product with the weight has the scale of the logits."""
        return hidden_SD if self.scale == 1 else hidden_SD * self.scale


def head_losses(
    hidden_SD: Tensor, head: FrozenWeight, softcap: float | None, labels_S: Tensor, weights_S: Tensor
) -> TokenLosses:
    """Return the `token_losses` of the logits, which may be capped (Bello et al. 2016, arXiv:1611.09940).

    A head that is trained gets its gradient: a `DenseWeight` of its matrix. On a GPU all chunks share one
    copy of a head in 8 bits.
    """
    if isinstance(head, QuantisedWeight) and hidden_SD.is_cuda:
        (layer,) = head.layers
        head = DenseWeight(weight_of(layer, hidden_SD.dtype))
    if softcap is None and not _is_trained(head):
        blocks = operations_on(hidden_SD.device).block_losses
        return token_losses(hidden_SD, head, labels_S, weights_S, blocks)
    nll, correct = [], []
    length = chunk_tokens(len(labels_S))
    for start in range(0, max(1, len(labels_S)), length):  # an empty chunk if there are no labels
        chunk = slice(start, start + length)
        # The backward pass computes the logits again, so the full logits never exist at once
        nll_C, correct_C = checkpoint(
            _nll, hidden_SD[chunk], head, softcap, labels_S[chunk], use_reentrant=False
        )
        nll.append(nll_C)
        correct.append(correct_C)
    nll_S = torch.cat(nll)
    return TokenLosses(nll_S * weights_S, nll_S.detach(), torch.cat(correct))


def capped_logits(hidden_SD: Tensor, head: FrozenWeight, softcap: float | None) -> Tensor:
    """Return the logits [S, V] in fp32, capped if there is a `softcap`."""
    logits_SV = head.forward(hidden_SD) if _is_trained(head) else product(hidden_SD, head)
    return capped(logits_SV.float(), softcap)


def _is_trained(head: FrozenWeight) -> bool:
    return isinstance(head, DenseWeight) and head.weight_NK.requires_grad


def capped(logits_SV: Tensor, softcap: float | None) -> Tensor:
    """Return the logits as softcap · tanh(logits / softcap), or as they are without a `softcap`."""
    return logits_SV if softcap is None else torch.tanh(logits_SV / softcap) * softcap


def _nll(
    hidden_CD: Tensor, head: FrozenWeight, softcap: float | None, labels_C: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each token's negative log-likelihood, and whether its label has the largest logit."""
    logits_CV = capped_logits(hidden_CD, head, softcap)
    return F.cross_entropy(logits_CV, labels_C, reduction="none"), logits_CV.argmax(-1) == labels_C
