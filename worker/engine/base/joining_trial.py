"""A trial whether rows have the same bits, however many rows are multiplied at once.

Libraries choose kernels by the size of a product. If a kernel added up in another order, the bits of a
job's result would depend on the jobs that are computed with it (`batch/joining.py`). If all layers have the
same sizes, the trial computes two layers and the head.
"""

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from worker.engine.batch.joining import joined
from worker.engine.batch.micro_batch import MicroBatch, Segment
from worker.engine.decoders.fast import Decoder
from worker.engine.decoders.head import head_losses

BOUNDS = (
    0,
    16,
    64,
    320,
    1280,
)  # of the jobs' spans of tokens, in whole tiles: together as many as a lane has
LEARNT = 256  # tokens of a job at most: together more than a chunk of the head


@torch.enable_grad()  # the first question may come in a pass without gradient
def can_join(decoder: Decoder) -> bool:
    """Return whether jobs that are computed at once have the losses and gradients of each job alone."""
    small = copy.copy(decoder)
    if len({layer.heads for layer in decoder.layers}) == 1:
        small.layers = decoder.layers[:2]
    width = len(decoder.final_norm_D)
    values = torch.randn(BOUNDS[-1], width, generator=torch.Generator().manual_seed(0))
    inputs_TD = values.to(decoder.device, decoder.dtype).requires_grad_()
    small.embedding = inputs_TD.__getitem__
    jobs = [_job(*span) for span in pairwise(BOUNDS)]
    alone = zip(*(_computed(small, [job], inputs_TD) for job in jobs), strict=True)
    together = _computed(small, jobs, inputs_TD)
    return all(torch.equal(torch.cat(a), b) for a, b in zip(alone, together, strict=True))


def _job(start: int, end: int) -> MicroBatch:
    tokens_T = torch.arange(start, end)
    positions_T = tokens_T - start
    learnt_S = positions_T[-LEARNT:]
    return MicroBatch(
        tokens_T=tokens_T,
        positions_T=positions_T,
        segments=[Segment(0, end - start)],
        adapter_tokens={},
        supervised_S=learnt_S,
        labels_S=torch.zeros_like(learnt_S),
        weights_S=torch.ones(len(learnt_S)),
        rows_S=learnt_S,
    )


def _computed(decoder: Decoder, jobs: Sequence[MicroBatch], inputs_TD: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses of the jobs' tokens, and the gradients of the tokens' inputs."""
    batch = joined(jobs)
    hidden_SD = decoder.hidden(batch, {})
    losses = head_losses(hidden_SD, decoder.head_weight, decoder.softcap, batch.labels_S, batch.weights_S)
    (gradient_TD,) = torch.autograd.grad(losses.weighted_S.sum(), inputs_TD)
    return losses.nll_S, gradient_TD[batch.tokens_T]
