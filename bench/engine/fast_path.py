"""Compare the fast path with the portable one, on which the same base model would train otherwise.

    python -m bench.engine.fast_path                    # writes bench/results/fast-path-DATE.json

The base models are a small Qwen 2 with random weights, and SmolLM2 in 4 and in 8 bits. Each measurement has a
process of its own, and the paths take turns (A B B A), so that a machine that becomes slower slows both. A
rate is tokens over the process's processor time, all threads together: other work on the machine changes it
less than the time that passes. Memory is the largest that the process had.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

from bench import BENCH
from bench.command_line import add_models, new_parser, positive
from bench.jobs.run import surroundings
from bench.training.ours import usual_step_tokens
from core.catalog import SMOLLM2, BaseModelEntry
from core.jobs.spec import Hyperparameters, JobSpec, LoraAdapter, TrainingOptions
from worker.base_models.model_store import ensure_model
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base import choose
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import Trainee
from worker.process.environment import TRAINER_ENVIRONMENT
from worker.rows.row import Row

CASES = {"a small Qwen 2": None, "SmolLM2 in nf4": "nf4", "SmolLM2 in int8": "int8"}
PATHS = ("fast", "portable", "portable", "fast")  # two turns of each
RANK, ROWS, LENGTHS = 16, 8, (100, 400)
QWEN = Qwen2Config(
    vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=12, num_attention_heads=9,
    num_key_value_heads=3, max_position_embeddings=2048, tie_word_embeddings=True,
)  # fmt: skip


def rows(seed: int) -> list[Row]:
    """Return rows of random tokens, of which the second half is learnt."""
    random = np.random.default_rng(seed)
    lengths = random.integers(*LENGTHS, ROWS)
    return [
        Row(line, random.integers(20, 40_000, length).astype(np.int32), np.arange(length) > length // 2)
        for line, length in enumerate(lengths)
    ]


def base_of(case: str, models: Path, scratch: Path) -> ResidentBase:
    folder, _ = ensure_model(SMOLLM2, models)
    entry: BaseModelEntry = SMOLLM2.in_precision(CASES[case])  # type: ignore[arg-type]
    if case == "a small Qwen 2":
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(QWEN, dtype=torch.bfloat16).save_pretrained(scratch)
        AutoTokenizer.from_pretrained(folder).save_pretrained(scratch)
        folder = scratch
    return ResidentBase(entry, folder, "0" * 64, torch.device("cpu"))


def not_wanted(config: Any) -> str | None:  # noqa: ARG001
    return "it is compared with the fast path"


def measure(case: str, path: str, rounds: int, models: Path) -> dict[str, float]:
    """Train some rounds, and return tokens per second of processor time, and the memory in MiB."""
    if path == "portable":
        choose.why_unsupported = not_wanted
    with tempfile.TemporaryDirectory() as scratch:
        base = base_of(case, models, Path(scratch))
    assert base.decoder.path == path
    spec = JobSpec(
        base_model="bench",
        seed=0,
        hyperparameters=Hyperparameters(n_epochs=rounds + 1, batch_size=ROWS, learning_rate_multiplier=1.0),
        adapter=LoraAdapter(r=RANK, lora_alpha=RANK),
        training=TrainingOptions(learning_rate=1e-4),
    )
    data = rows(0)
    trainee = Trainee(TrainableAdapter(base, "job", spec.low_rank, 0, rounds + 1), spec, data)
    context = PassContext(base, usual_step_tokens(base))
    train_round(context, [trainee])
    before = cpu_seconds()
    losses = [next(iter(train_round(context, [trainee]).values())) for _ in range(rounds)]
    took = cpu_seconds() - before
    return {
        "tokens_per_cpu_second": rounds * sum(len(row.tokens_L) for row in data) / took,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "loss": float(losses[-1].loss),  # type: ignore[union-attr]
    }


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def in_a_process(case: str, path: str, given: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.engine.fast_path", "--one", case, path]
    command += ["--rounds", str(given.rounds), "--models", str(given.models)]
    environment = {**TRAINER_ENVIRONMENT, **os.environ}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compared(case: str, given: argparse.Namespace) -> dict[str, Any]:
    """Return the medians of both paths, and the fast one's over the portable one's."""
    runs: dict[str, list[dict[str, float]]] = {path: [] for path in PATHS}
    for path in PATHS[: 2 * given.turns]:
        runs[path].append(in_a_process(case, path, given))
        print(case, path, runs[path][-1], flush=True)
    found: dict[str, Any] = {
        path: {name: round(statistics.median(run[name] for run in of), 4) for name in of[0]}
        for path, of in runs.items()
    }
    for name in ("tokens_per_cpu_second", "peak_mib"):
        found[f"ratio_of_{name}"] = round(found["fast"][name] / found["portable"][name], 3)
    return found


def main() -> None:
    parser = new_parser(__doc__)
    add_models(parser)
    parser.add_argument("--rounds", type=positive, default=5, help="rounds of a measurement (default 5)")
    parser.add_argument("--turns", type=positive, default=2, choices=(1, 2), help="of each path (default 2)")
    parser.add_argument("--one", nargs=2, metavar=("CASE", "PATH"), help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, default=BENCH / "results", help="folder to write to")
    given = parser.parse_args()
    if given.one:
        case, path = given.one
        print(json.dumps(measure(case, path, given.rounds, given.models)))
        return
    document = {**surroundings(alone=False), "cases": {case: compared(case, given) for case in CASES}}
    file = given.results / f"fast-path-{datetime.now(UTC):%Y-%m-%d}.json"
    file.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
