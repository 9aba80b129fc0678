"""Computes what the machine allows: by the bytes that each token reads, and by the products of a prompt."""

from __future__ import annotations

from functools import partial
from math import prod

import torch

from bench.training.machine import best_seconds, measure_ceiling
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.fast import Decoder

READ = 1 << 28  # bytes, more than any cache holds


def limits(base: ResidentBase) -> dict[str, float]:
    """Measure the memory's and the products' rate. Return what they allow of tokens a second on the base."""
    decoder = base.decoder
    assert isinstance(decoder, Decoder)
    weights = sum(prod(group.weight.shape) for group in decoder.groups.values())
    layers = [base.model.get_submodule(layer.name) for layer in decoder.layers]
    each = decoder.head.layer.weight.nbytes + sum(
        weight.nbytes for layer in layers for weight in layer.parameters()
    )
    gflops = measure_ceiling(base.folder, base.dtype).gflops
    reading = reading_rate()
    return {
        "gb_per_second": reading,
        "gflops": gflops,
        "mb_of_a_token": each / 1e6,
        "one_stream_at_most": 1e9 * reading / each,
        "prompt_tokens_at_most": 1e9 * gflops / (2 * weights),
    }


def reading_rate() -> float:
    """Return the 10^9 bytes that all threads read from the memory in a second."""
    numbers = torch.ones(READ // 4)
    return READ / best_seconds(partial(torch.sum, numbers), runs=10) / 1e9
