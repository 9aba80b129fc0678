"""How many floating-point operations a LoRA run cannot do without, whoever trains it.

Counted are the products over the rows as they are, each row by itself. What a trainer does on top (padding,
activations computed twice, gradients of frozen weights) is not credited, so it lowers that trainer's share.
Nor is anything taken off for a beginning that several rows share and a trainer computes once: its share may
pass 1.
"""

from __future__ import annotations

import json
from pathlib import Path

from bench.training.machine import linear_shapes


def needed_operations(
    base: Path, lengths: list[int], answer_tokens: int, rank: int, reference: bool = False
) -> float:
    """Floating-point operations of one epoch: forward, input gradient, and the adapters' own gradient.

    It is the logical work: every row's tokens count, whether or not other rows begin with the same ones.

    With T tokens in rows of length t, S of them supervised, L layers, hidden size d, vocabulary V, and N
    weights in the matrices m x n of all layers (without embedding and head), each adapted with rank r:

        4 N T  +  4 d V S  +  7 d L sum(t^2)  +  6 r T sum(m + n)

    With a `reference` the bare base computes the rows forward once more, as DPO needs it:

        2 N T  +  2 d V S  +  2 d L sum(t^2)

    The third term is causal attention, half of a t x t square in each of two products forward and five
    backward. Lengths count tokens. Raises FileNotFoundError without a config.json in `base`.
    """
    config = json.loads((base / "config.json").read_text())
    shapes = linear_shapes(base)
    layers, hidden, tokens = config["num_hidden_layers"], config["hidden_size"], sum(lengths)
    weights = layers * sum(inputs * outputs for inputs, outputs in shapes.values())
    sides = layers * sum(inputs + outputs for inputs, outputs in shapes.values())
    attention_width = shapes["q_proj"][1]
    passes, products = (6, 9) if reference else (4, 7)
    return float(
        passes * weights * tokens
        + passes * hidden * config["vocab_size"] * answer_tokens
        + products * attention_width * layers * sum(length**2 for length in lengths)
        + 6 * rank * sides * tokens
    )


def share_of_ceiling(operations: float, seconds: float, ceiling_gflops: float) -> float:
    """Which part of the measured rate the needed work ran at; 1 is a run of matrix products alone."""
    return operations / seconds / (ceiling_gflops * 1e9)
