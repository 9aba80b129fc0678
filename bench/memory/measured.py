"""Measures the peak of real steps on the CPU: what their process held at most beside what it had before."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from unittest.mock import patch

import torch

from bench.memory.models import Case, Factors, build
from bench.memory.tracked import forward, micro_batch
from core.estimates.memory_plan import Recompute
from worker.engine.device.peak_memory import peak_memory

# Every larger block is mapped by itself and given back at once: a process holds what its tensors take.
# The heap of a trainer keeps freed blocks (`worker/process/environment.py`).
MAPPED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}


def measure(
    cases: Sequence[Case], rows: int, length: int, rank: int, environment: Mapping[str, str] = MAPPED
) -> list[int]:
    """Return the bytes that a step of each small model takes at most, in a process of their own."""
    with patch.dict(os.environ, environment), ProcessPoolExecutor(1, get_context("spawn")) as process:
        return list(process.map(partial(_measure, rows=rows, length=length, rank=rank), cases))


def _measure(case: Case, rows: int, length: int, rank: int) -> int:
    torch.set_num_threads(1)
    return peak_of_step(case, rows, length, rank, torch.device("cpu"))


def peak_of_step(
    case: Case,
    rows: int,
    length: int,
    rank: int,
    device: torch.device,
    recompute: Recompute = Recompute.NONE,
) -> int:
    """Return the bytes that a step takes at most on the device, beside the weights, which are made there."""
    with device:
        model, decoder = build(case)
        factors = Factors(model, decoder, rank, case.dtype)

        def step() -> None:
            batch = micro_batch(rows, length, rows * length)
            forward(decoder, factors, batch, recompute).sum().backward()

        step()  # loads code, and makes what oneDNN keeps for all products of these shapes
        with peak_memory(device) as peak:
            step()
    return peak.bytes
