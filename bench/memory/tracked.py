"""Runs the engine's forward and backward pass on tensors without values, and lets torch account for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from bitsandbytes.functional import quantize_4bit
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from bench.memory.models import Case, Factors, build
from core.estimates.lanes import MAX_LANES
from core.estimates.memory_plan import Recompute
from worker.engine.batch.lanes import Lanes
from worker.engine.batch.micro_batch import MicroBatch, Segment
from worker.engine.decoders.adapters_on_axis import AdaptersOnAxis
from worker.engine.decoders.head import head_losses
from worker.engine.decoders.text_decoder import TextDecoder
from worker.engine.device import waiting_on_host
from worker.engine.kernels.experts import layer as experts
from worker.engine.kernels.in_c import calls

CPU = torch.device("cpu")
APART = torch.device("meta")
"""A host whose memory is not the device's. Tensors without values lose nothing there."""


class Tracker(MemTracker):
    """torch's accounting, of a model whose parameters get no gradients."""

    def _track_module_params_and_buffers(
        self, module: nn.Module, install_grad_hooks: bool = True
    ) -> tuple[int, int]:
        del install_grad_hooks
        return super()._track_module_params_and_buffers(module, install_grad_hooks=False)

    @property
    def now(self) -> int:
        return self._total("current")

    @property
    def most(self) -> int:
        return self._total("peak")

    def _total(self, kind: str) -> int:
        found: dict[Any, dict[Any, int]] = self.get_tracker_snapshot(kind)
        return int(found[CPU]["Total"])


@dataclass(frozen=True)
class Tracked:
    """What torch has counted, bytes: what is there before a step, after its forward pass, and at most."""

    before: int
    after_forward: int
    peak: int


def track(
    case: Case,
    rows: int,
    length: int,
    supervised: int,
    rank: int,
    layers: int | None = None,
    recompute: Recompute = Recompute.NONE,
) -> Tracked:
    """Return the accounting of one micro-batch of `rows` rows of `length` tokens, without AdamW's moments.

    What waits on the host is not counted.
    """
    with without_values():
        model, decoder = build(case, layers)
        factors = Factors(model, decoder, rank, case.dtype)
        batch = micro_batch(rows, length, supervised)
        tracker = Tracker()
        tracker.track_external(model, *factors.tensors)
        before = tracker.now
        with tracker:
            losses = forward(decoder, factors, batch, recompute)
            after_forward = tracker.now
            losses.sum().backward()
        return Tracked(before, after_forward, tracker.most)


@contextmanager
def without_values() -> Iterator[None]:
    """Compute on tensors without values inside."""
    quantize_4bit(torch.zeros(64), quant_type="nf4", compress_statistics=True)  # makes and keeps its tables
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        patch.object(AdaptersOnAxis, "restricted_to", _restricted),
        patch.object(waiting_on_host, "HOST", APART),
        patch.object(calls, "library", lambda *_: None),  # C would read the values
        patch.object(experts, "bounds_of", even_bounds),
        patch.object(experts, "lanes_on", _lanes_in_turn),
    ):
        yield


def forward(
    decoder: TextDecoder, factors: Factors, batch: MicroBatch, recompute: Recompute = Recompute.NONE
) -> Tensor:
    """Return the losses of the supervised tokens."""
    hidden_SD = decoder.hidden(batch, {Factors.name: factors.low_ranks()}, recompute)
    losses = head_losses(hidden_SD, decoder.head_weight, decoder.softcap, batch.labels_S, batch.weights_S)
    return losses.weighted_S


def micro_batch(rows: int, length: int, supervised: int) -> MicroBatch:
    """Return rows of equal length, of which the first `supervised` tokens are learnt."""
    positions_T = torch.arange(length).repeat(rows)
    indices_S = torch.arange(rows * length)[:supervised]
    return MicroBatch(
        tokens_T=torch.zeros_like(positions_T),
        positions_T=positions_T,
        segments=[Segment(start, start + length) for start in range(0, rows * length, length)],
        adapter_tokens={Factors.name: slice(0, rows * length)},
        supervised_S=indices_S,
        labels_S=torch.zeros_like(indices_S),
        weights_S=torch.ones(supervised),
        rows_S=torch.zeros_like(indices_S),
    )


def _restricted(on_axis: AdaptersOnAxis, positions_S: Tensor, _host_S: Tensor) -> AdaptersOnAxis:
    """Return what `restricted_to` returns for one adapter. It cannot search in tensors without values."""
    return replace(on_axis, tokens=dict.fromkeys(on_axis.tokens, slice(0, len(positions_S))))


def _lanes_in_turn(_device: torch.device) -> Lanes:
    """Return a CPU's lanes on the calling thread, since the tracker sees no other."""
    lanes = Lanes(1)
    lanes.count = MAX_LANES
    return lanes


def even_bounds(keys_P: Tensor, count: int, _tokens: int, edges: Sequence[int]) -> list[list[int]]:
    """Return the bounds of experts that have equally many tokens, of one adapter."""
    each = len(keys_P) // count
    return [[expert * each, (expert + 1) * each] * (len(edges) // 2) for expert in range(count)]
