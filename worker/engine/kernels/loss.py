"""Cross-entropy of supervised tokens, in chunks whose gradient is computed in the forward pass.

The full logits never exist: with a vocabulary of 49,152 they would be larger than any other activation.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.estimates.workspace import BLOCK_TOKENS, CHUNK_TOKENS
from worker.engine.batch.micro_batch import TILE


@dataclass(frozen=True)
class TokenLosses:
    """The losses of supervised tokens.

    `weighted_S` is the loss of each token times its weight, and the gradient flows through it. `nll_S` (in
    nats) is the loss without the weight. `correct_S` says whether the token's label is the most likely
    prediction.
    """

    weighted_S: Tensor
    nll_S: Tensor
    correct_S: Tensor

    def of(self, tokens: slice) -> "TokenLosses":
        """Return the losses of some of the tokens."""
        return TokenLosses(self.weighted_S[tokens], self.nll_S[tokens], self.correct_S[tokens])


def token_losses(hidden_SD: Tensor, head_VD: Tensor, labels_S: Tensor, weights_S: Tensor) -> TokenLosses:
    """Return the losses: −log softmax(hidden · headᵀ)[label], and times the weights; the head is frozen."""
    return TokenLosses(*_ChunkedCrossEntropy.apply(hidden_SD, head_VD, labels_S, weights_S))


def token_losses_plainly(
    hidden_SD: Tensor, head_VD: Tensor, labels_S: Tensor, weights_S: Tensor
) -> TokenLosses:
    """Return the same as `token_losses`, but let autograd find the gradients."""
    logits_SV = (hidden_SD @ head_VD.T).float()
    nll_S = F.cross_entropy(logits_SV, labels_S, reduction="none")
    return TokenLosses(nll_S * weights_S, nll_S.detach(), logits_SV.argmax(-1) == labels_S)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden_SD, head_VD, labels_S, weights_S):  # type: ignore[no-untyped-def]
        tokens = len(labels_S)
        hidden_SD = F.pad(hidden_SD, (0, 0, 0, -tokens % TILE))
        nll_S = weights_S.new_empty(labels_S.shape)
        correct_S = torch.empty_like(labels_S, dtype=torch.bool)
        dhidden_SD = torch.empty_like(hidden_SD) if ctx.needs_input_grad[0] else None
        for chunk in _slices(0, len(hidden_SD), CHUNK_TOKENS):
            chunk_SV = hidden_SD[chunk] @ head_VD.T
            for block in _slices(chunk.start, min(chunk.stop, tokens), BLOCK_TOKENS):
                logits = chunk_SV[block.start - chunk.start : block.stop - chunk.start]
                values = logits.float()
                label, weight = labels_S[block, None], weights_S[block, None]
                top = values.amax(-1, keepdim=True)
                label_logit = values.gather(-1, label) - top
                correct_S[block] = (label_logit == 0)[:, 0]
                p = values.sub_(top).exp_()
                total = p.sum(-1, keepdim=True)
                nll_S[block] = (total.log() - label_logit)[:, 0]
                if dhidden_SD is not None:  # the logits are overwritten by their gradient
                    logits.copy_(p.mul_(weight / total).scatter_add_(-1, label, -weight))
            if dhidden_SD is not None:
                torch.mm(chunk_SV, head_VD, out=dhidden_SD[chunk])
        ctx.save_for_backward(None if dhidden_SD is None else dhidden_SD[:tokens])
        ctx.mark_non_differentiable(nll_S, correct_S)
        return nll_S * weights_S, nll_S, correct_S

    @staticmethod
    def backward(ctx, dweighted_S, *_):  # type: ignore[no-untyped-def]
        (dhidden_SD,) = ctx.saved_tensors
        return (dhidden_SD * dweighted_S[:, None]).to(dhidden_SD.dtype), None, None, None  # in fp32


def _slices(start: int, stop: int, length: int) -> Iterator[slice]:
    """Yield slices of `length`, and a shorter one at the end, from `start` to `stop`."""
    for begin in range(start, stop, length):
        yield slice(begin, min(begin + length, stop))
