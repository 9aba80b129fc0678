"""Cross-entropy of supervised tokens, in chunks whose gradient is computed in the forward pass.

The full logits never exist: with a vocabulary of 49,152 they would be larger than any other activation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from core.estimates.workspace import BLOCK_TOKENS, CHUNK_TOKENS
from worker.engine.batch.micro_batch import TILE
from worker.engine.kernels.frozen_weight import FrozenWeight
from worker.engine.kernels.in_c.cross_entropy import cross_entropy


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


@dataclass(frozen=True)
class BlockLosses:
    """The cross-entropy of at most `tokens` tokens at once, from their logits.

    `compute` takes logits_BV, labels_B, weights_B, and whether there is a gradient. It returns the losses
    without the weights, and whether each label is the most likely prediction. If there is a gradient, it
    overwrites the logits with their gradient, times the weights.
    """

    tokens: int
    compute: Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor]]


def in_cache(
    logits_BV: Tensor, labels_B: Tensor, weights_B: Tensor, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Compute `BlockLosses` of so few tokens that their fp32 values stay in a core's cache."""
    if (losses := cross_entropy(logits_BV, labels_B, weights_B, with_gradient)) is not None:
        return losses
    values = logits_BV.float()
    label, weight = labels_B[:, None], weights_B[:, None]
    top = values.amax(-1, keepdim=True)
    label_logit = values.gather(-1, label) - top
    correct_B1 = label_logit == 0
    p = values.sub_(top).exp_()
    total = p.sum(-1, keepdim=True)
    nll_B1 = total.log() - label_logit
    if with_gradient:
        logits_BV.copy_(p.mul_(weight / total).scatter_add_(-1, label, -weight))
    return nll_B1[:, 0], correct_B1[:, 0]


def in_one_kernel(
    logits_BV: Tensor, labels_B: Tensor, weights_B: Tensor, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Compute the same as `in_cache`, for a compiler, which fuses it: no fp32 values come into memory."""
    values, label = logits_BV.float(), labels_B[:, None]
    log_p = F.log_softmax(values, dim=-1)
    nll_B = -log_p.gather(-1, label)[:, 0]
    correct_B = values.gather(-1, label)[:, 0] == values.amax(-1)
    if with_gradient:
        is_label = torch.arange(values.shape[1], device=values.device) == label
        logits_BV.copy_((log_p.exp() - is_label.float()) * weights_B[:, None])
    return nll_B, correct_B


def log_totals(logits_SV: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row's highest logit, and the logarithm of Σ e^(logit - highest), in fp32.

    With both, `(logit - highest) - total` has the bits of −nll as `in_cache` computes it for logits in fp32.
    """
    logits_SV = logits_SV.float().contiguous()
    top_S, likeliest_S = logits_SV.max(-1)
    losses = cross_entropy(logits_SV, likeliest_S, torch.ones_like(top_S), with_gradient=False)
    if losses is not None:
        return top_S, losses[0]
    return top_S, (logits_SV - top_S[:, None]).exp_().sum(-1).log_()


BY_BLOCKS = BlockLosses(BLOCK_TOKENS, in_cache)


def token_losses(
    hidden_SD: Tensor,
    head: FrozenWeight,
    labels_S: Tensor,
    weights_S: Tensor,
    blocks: BlockLosses = BY_BLOCKS,
) -> TokenLosses:
    """Return the losses: −log softmax(hidden · headᵀ)[label], and times the weights."""
    return TokenLosses(*_ChunkedCrossEntropy.apply(hidden_SD, head, labels_S, weights_S, blocks))


def token_losses_plainly(
    hidden_SD: Tensor, head_VD: Tensor, labels_S: Tensor, weights_S: Tensor
) -> TokenLosses:
    """Return the same as `token_losses`, but let autograd find the gradients."""
    logits_SV = (hidden_SD @ head_VD.T).float()
    nll_S = F.cross_entropy(logits_SV, labels_S, reduction="none")
    return TokenLosses(nll_S * weights_S, nll_S.detach(), logits_SV.argmax(-1) == labels_S)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden_SD, head, labels_S, weights_S, blocks):  # type: ignore[no-untyped-def]
        tokens = len(labels_S)
        hidden_SD = F.pad(hidden_SD, (0, 0, 0, -tokens % TILE))
        nll_S = weights_S.new_empty(labels_S.shape)
        correct_S = torch.empty_like(labels_S, dtype=torch.bool)
        dhidden_SD = torch.empty_like(hidden_SD) if ctx.needs_input_grad[0] else None
        for chunk in _slices(0, len(hidden_SD), chunk_tokens(len(hidden_SD))):
            chunk_SV = head.forward(hidden_SD[chunk])
            for block in _slices(chunk.start, min(chunk.stop, tokens), blocks.tokens):
                logits = chunk_SV[block.start - chunk.start : block.stop - chunk.start]
                nll_S[block], correct_S[block] = blocks.compute(
                    logits, labels_S[block], weights_S[block], dhidden_SD is not None
                )
            if dhidden_SD is not None:
                dhidden_SD[chunk] = head.backward(chunk_SV)
        ctx.save_for_backward(None if dhidden_SD is None else dhidden_SD[:tokens])
        ctx.mark_non_differentiable(nll_S, correct_S)
        return nll_S * weights_S, nll_S, correct_S

    @staticmethod
    def backward(ctx, dweighted_S, *_):  # type: ignore[no-untyped-def]
        (dhidden_SD,) = ctx.saved_tensors
        return (dhidden_SD * dweighted_S[:, None]).to(dhidden_SD.dtype), None, None, None, None  # in fp32


def chunk_tokens(tokens: int) -> int:
    """Return the tokens of a chunk: as few chunks as CHUNK_TOKENS allows, and all of about the same size.

    Even chunks take as many products as full ones with a small rest, and less memory for their logits.
    """
    chunks = max(1, ceil(tokens / CHUNK_TOKENS))
    return max(1, ceil(tokens / chunks / TILE)) * TILE


def _slices(start: int, stop: int, length: int) -> Iterator[slice]:
    """Yield slices of `length`, and a shorter one at the end, from `start` to `stop`."""
    for begin in range(start, stop, length):
        yield slice(begin, min(begin + length, stop))
