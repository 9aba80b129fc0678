"""Measure a base model with states of half a billion random weights, against transformers with PEFT.

    python -m bench.states

The model has the shape of Qwen3.5-0.8B, with a smaller vocabulary: three layers of four have the gated delta
rule. A step is a forward and a backward pass over the same rows with a LoRA of rank 16 on all linear layers.
They take turns, in one process that has the environment of Tunery's trainer. Then longer and longer rows show
how the time of a token grows. Run nothing else meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, Qwen3_5TextConfig

from bench.command_line import new_parser
from bench.memory.models import Factors
from core.estimates.memory_plan import Recompute
from worker.engine.adapters.modules.own_tree import tree_with_own_config
from worker.engine.base.choose import choose_decoder
from worker.engine.base.loading import compute_dtype
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.pack import pack
from worker.engine.decoders.head import head_losses
from worker.engine.decoders.text_decoder import TextDecoder
from worker.process.environment import TRAINER_ENVIRONMENT
from worker.rows.row import Row

CPU = torch.device("cpu")
RANK, STEP_TOKENS = 16, 2560
SHARED = 380  # tokens of the beginning of "one prompt"
LENGTHS = (110, 130, 145, 160, 170, 190, 210, 245)
LONG = (512, 1024, 2048, 4096, 8192)


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--layers", type=int, default=24, help="of the model, a multiple of four")
    parser.add_argument("--turns", type=int, default=3, help="of each trainer, after one that is not counted")
    given = parser.parse_args()
    if not TRAINER_ENVIRONMENT.items() <= os.environ.items():  # libraries read it when they are loaded
        again = [sys.executable, "-m", "bench.states", *sys.argv[1:]]
        subprocess.run(again, env={**os.environ, **TRAINER_ENVIRONMENT}, check=True)
        return
    torch.manual_seed(0)
    dtype = compute_dtype(CPU)
    model: Any = (
        AutoModelForCausalLM.from_config(config(given.layers), dtype=dtype).eval().requires_grad_(False)
    )
    plain = tree_with_own_config(model)
    decoder, why = choose_decoder(model, 2 * max(LONG))
    factors = Factors(model, decoder, RANK, dtype)
    peft = get_peft_model(plain, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"))
    print(f"{sum(p.numel() for p in model.parameters()) / 1e9:.2f} B, {dtype}, {decoder.path}: {why}\n")
    print(
        "| rows of a step | Tunery, tokens/s | PEFT row by row | PEFT in a padded batch | times the faster |"
    )
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, rows in {"eight, unlike": unlike(), "eight behind one prompt": behind_one_prompt()}.items():
        ways: dict[str, Callable[[], None]] = {
            "ours": partial(ours, decoder, factors, rows),
            "row by row": partial(row_by_row, peft, rows),
            "padded": partial(padded, peft, rows),
        }
        tokens = sum(len(row.tokens_L) for row in rows)
        rates = {way: tokens / seconds for way, seconds in in_turns(ways, given.turns).items()}
        faster = rates["ours"] / max(rates["row by row"], rates["padded"])
        print(
            f"| {name} | {' | '.join(f'{rate:.0f}' for rate in rates.values())} | {faster:.2f} |", flush=True
        )
    print("\n| tokens of a row | milliseconds a token, Tunery |\n| ---: | ---: |")
    for length in LONG:
        rows = [row(length, length)]
        seconds = in_turns({"ours": partial(ours, decoder, factors, rows, Recompute.LAYERS)}, 1)["ours"]
        print(f"| {length:,} | {1000 * seconds / length:.2f} |", flush=True)


def config(layers: int) -> Qwen3_5TextConfig:
    return Qwen3_5TextConfig(
        vocab_size=32000,
        hidden_size=1024,
        intermediate_size=3584,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=2,
        linear_num_value_heads=16,
        tie_word_embeddings=True,
        max_position_embeddings=2 * max(LONG),
    )


def row(length: int, seed: int, beginning: Sequence[int] = ()) -> Row:
    """Return a row whose second half is learnt, or all behind the beginning."""
    own = np.random.default_rng(seed).integers(100, 31000, length - len(beginning))
    tokens_L = np.asarray([*beginning, *own], dtype=np.int32)
    return Row(seed, tokens_L, np.arange(length) >= (len(beginning) or length // 2))


def unlike() -> list[Row]:
    return [row(length, number) for number, length in enumerate(LENGTHS)]


def behind_one_prompt() -> list[Row]:
    beginning = row(SHARED, 99).tokens_L.tolist()
    return [row(SHARED + length // 4, number, beginning) for number, length in enumerate(LENGTHS)]


def ours(
    decoder: TextDecoder, factors: Factors, rows: Sequence[Row], recompute: Recompute = Recompute.NONE
) -> None:
    for batch in pack([JobRows(Factors.name, rows, 1.0)], STEP_TOKENS, CPU):
        hidden_SD = decoder.hidden(batch, {Factors.name: factors.low_ranks()}, recompute)
        losses = head_losses(hidden_SD, decoder.head_VD, decoder.softcap, batch.labels_S, batch.weights_S)
        losses.weighted_S.sum().backward()


def labels_of(row: Row) -> Tensor:
    return torch.from_numpy(np.where(row.learnt_L, row.tokens_L, -100)).long()


def row_by_row(model: Any, rows: Sequence[Row]) -> None:
    for row in rows:
        ids = torch.from_numpy(row.tokens_L).long()[None]
        model(input_ids=ids, labels=labels_of(row)[None], use_cache=False).loss.backward()


def padded(model: Any, rows: Sequence[Row]) -> None:
    ids = pad_sequence([torch.from_numpy(row.tokens_L).long() for row in rows], batch_first=True)
    mask = pad_sequence([torch.ones(len(row.tokens_L), dtype=torch.long) for row in rows], batch_first=True)
    labels = pad_sequence([labels_of(row) for row in rows], batch_first=True, padding_value=-100)
    model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss.backward()


def in_turns(ways: dict[str, Callable[[], None]], turns: int) -> dict[str, float]:
    """Return the median seconds of each way, after one pass that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: median(found) for name, found in seconds.items()}


if __name__ == "__main__":
    main()
