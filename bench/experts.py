"""Measure a base model with experts of half a billion random weights, against transformers with PEFT.

    python -m bench.experts
    python -m bench.experts --answers     # instead: chats with the model, eight at once and one by one

The model has the layers of Qwen 3 MoE, with 64 experts each, of which a token takes 8. A step is a forward
and a backward pass over the same rows with a LoRA of rank 16 on all linear layers and all experts. They take
turns, in one process that has the environment of Tunery's trainer. Run nothing else meanwhile.
"""

from __future__ import annotations

import sys

import torch
from transformers import Qwen3MoeConfig

from bench import answers
from bench.command_line import new_parser, positive
from bench.random_model import Trainers
from worker.process.environment import ensure_trainer_environment

VOCABULARY = 8192
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj"]
PARAMETERS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--layers", type=int, default=8, help="of the model")
    parser.add_argument("--turns", type=int, default=3, help="of each trainer, after one that is not counted")
    parser.add_argument("--answers", action="store_true", help="measure chats instead of steps")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    given = parser.parse_args()
    ensure_trainer_environment([sys.executable, *sys.orig_argv[1:]])
    torch.set_num_threads(given.threads)
    if given.answers:
        answers.print_rates(config(given.layers), given.turns)
        return
    trainers = Trainers(config(given.layers), target_modules=LINEAR, target_parameters=PARAMETERS)
    trainers.print_rates(VOCABULARY, given.turns)


def config(layers: int) -> Qwen3MoeConfig:
    return Qwen3MoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=768,
        num_hidden_layers=layers,
        num_attention_heads=12,
        num_key_value_heads=4,
        head_dim=64,
        num_experts=64,
        num_experts_per_tok=8,
        moe_intermediate_size=384,
        max_position_embeddings=4096,
    )


if __name__ == "__main__":
    main()
