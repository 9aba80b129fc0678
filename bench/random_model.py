"""Steps on a base model with random weights, by Tunery's engine and by transformers with PEFT.

A step is a forward and a backward pass over the same rows with a LoRA of rank 16. The trainers take turns.
PEFT trains the rows one by one and in a padded batch. Run nothing else meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, PretrainedConfig

from bench.memory.models import Factors
from bench.memory.tracked import forward
from core.estimates.memory_plan import Recompute
from worker.engine.adapters.modules.own_tree import tree_with_own_config
from worker.engine.base.choose import choose_decoder
from worker.engine.base.loading import compute_dtype
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.pack import pack
from worker.rows.row import Row

CPU = torch.device("cpu")
RANK, STEP_TOKENS = 16, 2560
SHARED = 380  # tokens of the beginning of "one prompt"
LENGTHS = (110, 130, 145, 160, 170, 190, 210, 245)


class Trainers:
    """Tunery's engine and PEFT, on one base model. `targets` are what PEFT's configuration adapts."""

    def __init__(self, config: PretrainedConfig, **targets: Any) -> None:
        torch.manual_seed(0)
        dtype = compute_dtype(CPU)
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)
        plain = tree_with_own_config(model)
        self._decoder, why = choose_decoder(model, config.max_position_embeddings)
        self._factors = Factors(model, self._decoder, RANK, dtype)
        self._peft: Any = get_peft_model(plain, LoraConfig(r=RANK, lora_alpha=2 * RANK, **targets))
        weights = sum(each.numel() for each in model.parameters())
        print(f"{weights / 1e9:.2f} B, {dtype}, {self._decoder.path}: {why}\n")

    def ours(self, rows: Sequence[Row], recompute: Recompute = Recompute.NONE) -> None:
        for batch in pack([JobRows(Factors.name, rows, 1.0)], STEP_TOKENS, CPU):
            forward(self._decoder, self._factors, batch, recompute).sum().backward()

    def row_by_row(self, rows: Sequence[Row]) -> None:
        for row in rows:
            ids = torch.from_numpy(row.tokens_L).long()[None]
            self._peft(input_ids=ids, labels=_labels_of(row)[None], use_cache=False).loss.backward()

    def padded(self, rows: Sequence[Row]) -> None:
        ids = pad_sequence([torch.from_numpy(row.tokens_L).long() for row in rows], batch_first=True)
        mask = pad_sequence([torch.ones(len(row.tokens_L), dtype=torch.long) for row in rows], True)
        labels = pad_sequence([_labels_of(row) for row in rows], True, padding_value=-100)
        self._peft(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss.backward()

    def print_rates(self, vocabulary: int, turns: int) -> None:
        """Print the tokens per second of both, for rows that are unlike and rows behind one prompt."""
        print("| rows of a step | Tunery, tokens/s | PEFT row by row | PEFT padded | times the faster |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for name, rows in _steps(vocabulary).items():
            ways = {"ours": self.ours, "row by row": self.row_by_row, "padded": self.padded}
            tokens = sum(len(row.tokens_L) for row in rows)
            seconds = in_turns({way: partial(run, rows) for way, run in ways.items()}, turns)
            rates = {way: tokens / each for way, each in seconds.items()}
            times = rates["ours"] / max(rates["row by row"], rates["padded"])
            cells = " | ".join(f"{rate:.0f}" for rate in rates.values())
            print(f"| {name} | {cells} | {times:.2f} |", flush=True)


def _steps(vocabulary: int) -> Mapping[str, Sequence[Row]]:
    beginning = row_of(SHARED, 99, vocabulary).tokens_L.tolist()
    lengths = list(enumerate(LENGTHS))
    return {
        "eight, unlike": [row_of(length, seed, vocabulary) for seed, length in lengths],
        "eight behind one prompt": [
            row_of(SHARED + length // 4, seed, vocabulary, beginning) for seed, length in lengths
        ],
    }


def row_of(length: int, seed: int, vocabulary: int, beginning: Sequence[int] = ()) -> Row:
    """Return a row whose second half is learnt, or all behind the beginning."""
    own = np.random.default_rng(seed).integers(100, vocabulary, length - len(beginning))
    tokens_L = np.asarray([*beginning, *own], dtype=np.int32)
    return Row(seed, tokens_L, np.arange(length) >= (len(beginning) or length // 2))


def in_turns(ways: Mapping[str, Callable[[], None]], turns: int) -> dict[str, float]:
    """Return the median seconds of each way, after one pass that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: median(found) for name, found in seconds.items()}


def _labels_of(row: Row) -> Tensor:
    return torch.from_numpy(np.where(row.learnt_L, row.tokens_L, -100)).long()
