"""Measure a base model with states of half a billion random weights, against transformers with PEFT.

    python -m bench.states

The model has the shape of Qwen3.5-0.8B, with a smaller vocabulary: three layers of four have the gated delta
rule. A step is a forward and a backward pass over the same rows with a LoRA of rank 16 on all linear layers.
The trainers take turns in one process, with the environment of Tunery's trainer. Then longer and longer rows
show how the time of a token grows. Run nothing else meanwhile.
"""

from __future__ import annotations

import sys
from functools import partial

from transformers import Qwen3_5TextConfig

from bench.command_line import new_parser
from bench.random_model import Trainers, in_turns, row_of
from core.estimates.memory_plan import Recompute
from worker.process.environment import ensure_trainer_environment

VOCABULARY = 32000
LONG = (512, 1024, 2048, 4096, 8192)


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--layers", type=int, default=24, help="of the model, a multiple of four")
    parser.add_argument("--turns", type=int, default=3, help="of each trainer, after one that is not counted")
    given = parser.parse_args()
    ensure_trainer_environment([sys.executable, *sys.orig_argv[1:]])
    trainers = Trainers(config(given.layers), target_modules="all-linear")
    trainers.print_rates(VOCABULARY, given.turns)
    print("\n| tokens of a row | milliseconds a token, Tunery |\n| ---: | ---: |")
    for length in LONG:
        step = partial(trainers.ours, [row_of(length, length, VOCABULARY)], Recompute.LAYERS)
        seconds = in_turns({"ours": step}, 1)["ours"]
        print(f"| {length:,} | {1000 * seconds / length:.2f} |", flush=True)


def config(layers: int) -> Qwen3_5TextConfig:
    return Qwen3_5TextConfig(
        vocab_size=VOCABULARY,
        hidden_size=1024,
        intermediate_size=3584,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=2,
        linear_num_value_heads=16,
        tie_word_embeddings=True,
        max_position_embeddings=2 * max(LONG),
    )


if __name__ == "__main__":
    main()
