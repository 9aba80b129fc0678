"""Time the operations that have GPU kernels: kernel, CPU code run on the GPU, and plain reference.

    python -m bench.gpu                             # sizes of a Llama with 1 B parameters, 16 adapters
    python -m bench.gpu --tokens 16384 --adapters 64

It needs a GPU. The times are milliseconds of a forward and a backward pass in bf16. Compilation is done
before and is not timed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from bench.command_line import new_parser
from worker.engine.batch.dropout import dropped
from worker.engine.batch.micro_batch import Segment
from worker.engine.kernels.attention import Heads, Layout, segment_attention_plainly
from worker.engine.kernels.elementwise import rms_norm_plainly, swiglu_plainly
from worker.engine.kernels.fp8.weight import Fp8Weight
from worker.engine.kernels.frozen_weight import DenseWeight, product
from worker.engine.kernels.loss import token_losses, token_losses_plainly
from worker.engine.kernels.operations import ON_CPU, Operations, operations_on
from worker.engine.kernels.projection import LowRank, ProjectionFactors, Share, project_plainly
from worker.engine.parameters.flat import Extent, FlatParameters

HEADS = Heads(query=32, key=8, size=64)
HIDDEN, INNER, RANK = 2048, 8192, 16
WORDS, SUPERVISED = 128_256, 2048
PROMPT, ROW, ROWS = 390, 230, 8  # tokens of a shared prompt, tokens of a row, and rows that share a prompt
DTYPE = torch.bfloat16

Way = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Compared:
    """One operation in three ways: the GPU kernel, the CPU code, and the plain reference, all on the GPU."""

    name: str
    x: Tensor
    ways: tuple[Way, Way, Way]


def main() -> None:
    given = arguments()
    if not torch.cuda.is_available():
        sys.exit("No GPU was found. This command measures a GPU.")
    device = torch.device("cuda")
    do = operations_on(device)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {given.tokens} tokens")
    if do is ON_CPU:
        sys.exit("Triton or a C compiler is missing. Without them, this GPU runs the same code as a CPU.")
    lines = []
    for line in table(kernels(do, given.tokens, given.adapters, device)):
        print(line, flush=True)
        lines.append(line)
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")


def table(found: Iterator[Compared]) -> Iterator[str]:
    yield f"{'kernel':36} {'own':>9} {'CPU way':>9} {'plain':>9} {'CPU/own':>8} {'plain/own':>9}"
    for each in found:
        own, cpu, plain = (milliseconds(way, each.x) for way in each.ways)
        yield f"{each.name:36} {own:9.3f} {cpu:9.3f} {plain:9.3f} {cpu / own:8.2f} {plain / own:9.2f}"


def milliseconds(way: Way, x: Tensor) -> float:
    """Return the median time of a forward and a backward pass, over the runs of one second."""
    x.requires_grad_()
    gradient = torch.randn_like(way(x))

    def step() -> None:
        x.grad = None
        way(x).backward(gradient)

    step()
    return Timer("step()", globals={"step": step}).blocked_autorange(min_run_time=1).median * 1e3


def of_x(operation: Callable[..., Tensor], *others: Any) -> Way:
    """Return the operation as a function of its first argument alone."""
    return lambda x: operation(x, *others)


def project_swiglu_plainly(x: Tensor, W: DenseWeight, shares: list[Share]) -> Tensor:
    return project_plainly(swiglu_plainly(x), W, shares)


def kernels(do: Operations, tokens: int, adapters: int, device: torch.device) -> Iterator[Compared]:
    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device, dtype=DTYPE) / shape[-1] ** 0.5

    norm_D = random(HIDDEN)
    yield Compared(
        "norm",
        random(tokens, HIDDEN),
        (
            lambda x: do.norm(x, norm_D, 1e-5),
            lambda x: ON_CPU.norm(x, norm_D, 1e-5),
            lambda x: rms_norm_plainly(x, norm_D, 1e-5),
        ),
    )
    head, labels_S = random(WORDS, HIDDEN), torch.randint(WORDS, (SUPERVISED,), device=device)
    weight, weights_S = DenseWeight(head), torch.ones(SUPERVISED, device=device)
    yield Compared(
        f"losses of {SUPERVISED} tokens",
        random(SUPERVISED, HIDDEN),
        (
            lambda x: token_losses(x, weight, labels_S, weights_S, do.block_losses).weighted_S,
            lambda x: token_losses(x, weight, labels_S, weights_S).weighted_S,
            lambda x: token_losses_plainly(x, head, labels_S, weights_S).weighted_S,
        ),
    )
    seeds_T = torch.arange(tokens, dtype=torch.int32, device=device)
    yield Compared(
        "dropout",
        random(tokens, HIDDEN),
        (
            lambda x: do.drop(x, seeds_T, 7, 0.1),
            lambda x: dropped(x, seeds_T, 7, 0.1),
            lambda x: torch.dropout(x, 0.1, train=True),
        ),
    )
    for name, segments in (("attention, rows", rows(tokens)), ("attention, shared prompts", trees(tokens))):
        yield attention(name, do, segments, random)
    qkv = (HEADS.query_columns, HEADS.key_columns, HEADS.value_columns)
    W, down = DenseWeight(random(qkv[-1].stop, HIDDEN)), DenseWeight(random(HIDDEN, INNER))
    if Fp8Weight.is_fast_on(device):
        yield in_fp8(do, random(tokens, INNER), down)
    for count in (1, adapters):
        shares = low_ranks(count, tokens, HIDDEN, qkv, device)
        yield Compared(
            f"queries, keys, values, {count} adapters",
            random(tokens, HIDDEN),
            (
                of_x(do.project, W, shares),
                of_x(ON_CPU.project, W, shares),
                of_x(project_plainly, W, shares),
            ),
        )
        shares = low_ranks(count, tokens, INNER, (slice(0, HIDDEN),), device)
        yield Compared(
            f"gate and last product, {count} adapters",
            random(tokens, 2 * INNER),
            (
                of_x(do.project_swiglu, down, shares),
                of_x(ON_CPU.project_swiglu, down, shares),
                of_x(project_swiglu_plainly, down, shares),
            ),
        )


def attention(name: str, do: Operations, segments: list[Segment], random: Callable[..., Tensor]) -> Compared:
    tokens, scale = segments[-1].end, HEADS.size**-0.5
    layout = Layout(segments, HEADS, random(tokens, HEADS.size), random(tokens, HEADS.size))
    return Compared(
        name,
        random(tokens, HEADS.value_columns.stop),
        (
            lambda x: do.segment_attention(x, layout, scale),
            lambda x: ON_CPU.segment_attention(x, layout, scale),
            lambda x: segment_attention_plainly(x, layout, scale),
        ),
    )


def in_fp8(do: Operations, x: Tensor, exact: DenseWeight) -> Compared:
    """Compare the tensor cores' product in fp8 with that of its twin, and with the exact one."""
    fast, twin = (Fp8Weight.of(exact.weight_NK, operations=each) for each in (do, ON_CPU))
    return Compared(
        "last product in fp8", x, (of_x(product, fast), of_x(product, twin), of_x(product, exact))
    )


def rows(tokens: int) -> list[Segment]:
    return [Segment(start, min(start + ROW, tokens)) for start in range(0, tokens, ROW)]


def trees(tokens: int) -> list[Segment]:
    """Return as many shared prompts with their rows as fit, at least one."""
    segments: list[Segment] = []
    for start in range(0, max(1, tokens - PROMPT - ROWS * ROW + 1), PROMPT + ROWS * ROW):
        end = start + PROMPT
        segments.append(Segment(start, end))
        segments += [Segment(end + i * ROW, end + (i + 1) * ROW, ((start, end),)) for i in range(ROWS)]
    return segments


def low_ranks(
    count: int, tokens: int, inputs: int, columns: tuple[slice, ...], device: torch.device
) -> list[Share]:
    """Return `count` adapters of the same rank, each on an equal part of the tokens."""
    bounds = [tokens * i // count for i in range(count + 1)]
    return [Share(slice(start, end), low_rank(inputs, columns, device)) for start, end in pairwise(bounds)]


def low_rank(inputs: int, columns: tuple[slice, ...], device: torch.device) -> LowRank:
    A = Extent(0, (RANK * len(columns), inputs))
    extent, made = A.stop, []
    for index, each in enumerate(columns):
        B = Extent(extent, (each.stop - each.start, RANK))
        made.append(ProjectionFactors(each, slice(index * RANK, (index + 1) * RANK), B, 2.0))
        extent = B.stop
    return LowRank(FlatParameters(torch.randn(extent, device=device) / 100, DTYPE), A, made)


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument("--tokens", type=int, default=8192, help="tokens of a micro-batch (default 8192)")
    parser.add_argument("--adapters", type=int, default=16, help="adapters of a cohort (default 16)")
    parser.add_argument("--out", type=Path, help="also write the table here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
