"""Counts the floating-point operations that a LoRA run needs, with any trainer.

The products over the rows are counted, each row by itself and without padding. Additional work of a trainer
(padding, activations computed twice, gradients of frozen weights) is not counted, so it lowers the share of
that trainer. If several rows begin alike, each row counts in full. A trainer that computes the common tokens
only once may have a share above 1.
"""

from __future__ import annotations

import json
from pathlib import Path

from bench.training.machine import linear_shapes


def needed_operations(
    base: Path, lengths: list[int], answer_tokens: int, rank: int, reference: bool = False
) -> float:
    """Return the floating-point operations of one epoch: forward, input gradient, adapters' gradient.

    All tokens of every row count, also if other rows begin with the same tokens.

    The rows have lengths t and T tokens together, S of them supervised. The base has L layers, hidden size
    d, vocabulary V, and N weights in the matrices m x n of all layers (without embedding and head). Each
    matrix is adapted with rank r. The result is:

        4 N T  +  4 d V S  +  7 d L sum(t^2)  +  6 r T sum(m + n)

    With `reference`, the base without adapter computes the rows forward once more, for DPO. This adds:

        2 N T  +  2 d V S  +  2 d L sum(t^2)

    The third term is causal attention: half of a t x t square in each of two products forward and five
    products backward. Lengths count tokens. Raises FileNotFoundError without a config.json in `base`.
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
