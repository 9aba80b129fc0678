"""Load a Llama of random weights in few bits, and train it, and compare memory and time with the estimate.

    python -m bench.loading --model 8b --folder /tmp/loading --steps 3

Each load has a process of its own, with a trainer's environment. The first one quantises the weights and
keeps a quantised copy, and the next one reads it. The source weights take 16 GB for 8 B and 26 GB for
13 B, and what is kept in nf4 a third of that. All of it is left in the folder: remove it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import inf
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig

from bench.command_line import new_parser
from bench.estimates.cases import Base, Case
from bench.estimates.measured import CPU, rows_of, train
from bench.memory.models import LLAMA_8B, LLAMA_13B, llama
from bench.pages.tables import markdown
from core.estimates.loading import loading_bytes, loading_seconds
from core.estimates.memory import step_memory
from core.estimates.runtime import gap_bytes, runtime_bytes
from core.estimates.shapes import base_bytes
from core.methods.low_rank import LoraAdapter
from core.settings import Settings
from tests.fixtures.models.tiny import text
from worker.device.model_holder import FoundModel, ModelHolder
from worker.device.watchdog import Watchdog
from worker.engine.device.free_memory import collect_garbage, held_bytes
from worker.engine.device.peak_memory import peak_memory
from worker.engine.step.processes import ALONE
from worker.process.environment import TRAINER_ENVIRONMENT
from worker.trainer.devices.process_group import ProcessGroup

GB = 1e9
MODELS = {"1b": partial(llama, 16, 2048, 8192, 32, 8, 128256), "8b": LLAMA_8B, "13b": LLAMA_13B}
SHARD_BYTES = 2 * 10**9
RANDOM = 2**26  # numbers, which all weights take in turn


class Taken(NamedTuple):
    """The peak of a process's memory and the seconds: of a load, and of steps after it."""

    part: str
    bytes: int
    expected_bytes: int
    seconds: float
    expected_seconds: str = ""


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--model", choices=MODELS, default="1b")
    parser.add_argument("--folder", type=Path, required=True, help="where the weights are written")
    parser.add_argument("--quantization", choices=("none", "nf4", "int8"), default="nf4")
    parser.add_argument("--loads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=0, help="of a LoRA after the last load")
    parser.add_argument("--tokens", type=int, default=200, help="of each of the four rows of a step")
    given = parser.parse_args()
    write_random(MODELS[given.model](), given.folder / given.model)
    case = Case(
        Base(given.model, {}),
        LoraAdapter(r=16),
        (given.tokens, given.tokens),
        batch_size=4,
        precision=given.quantization,
        steps=given.steps,
    )
    for number in range(given.loads):
        last = number == given.loads - 1
        with (
            patch.dict(os.environ, TRAINER_ENVIRONMENT),
            ProcessPoolExecutor(1, get_context("spawn")) as process,
        ):
            taken = process.submit(measure, case, given.folder, steps=last and given.steps > 0).result()
        rows = [(f"{each.part} {number + 1}", *_cells(each)) for each in taken]
        print(markdown(("what", "peak, GB", "expected", "ratio", "seconds", "expected"), rows), flush=True)


def _cells(taken: Taken) -> tuple[str, ...]:
    ratio = taken.expected_bytes / taken.bytes
    sizes = f"{taken.bytes / GB:.2f}", f"{taken.expected_bytes / GB:.2f}", f"{ratio:.2f}"
    return *sizes, f"{taken.seconds:.0f}", taken.expected_seconds


def write_random(config: LlamaConfig, folder: Path) -> None:
    """Write a model with random weights in shards, if it is not there. At most two are in memory."""
    if (folder / "model.safetensors.index.json").exists():
        return
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    config.dtype, config.architectures = torch.bfloat16, ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    text().save_pretrained(folder)
    names: dict[str, str] = {}
    for number, shard in enumerate(_shards(model.state_dict())):
        file = f"model-{number:05}.safetensors"
        save_file(shard, folder / file, {"format": "pt"})
        names |= dict.fromkeys(shard, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def _shards(shapes: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    torch.manual_seed(0)
    numbers = torch.empty(RANDOM, dtype=torch.bfloat16).normal_(0, 0.02)
    shard: dict[str, Tensor] = {}
    for name, like in shapes.items():
        if like.dim() == 1:
            shard[name] = torch.ones(like.shape, dtype=torch.bfloat16)
        else:
            repeated = numbers.roll(len(name)).repeat(-(-like.numel() // RANDOM))
            shard[name] = repeated[: like.numel()].view(like.shape).clone()
        if sum(each.nbytes for each in shard.values()) > SHARD_BYTES:
            yield shard
            shard = {}
    yield shard


def measure(case: Case, folder: Path, steps: bool) -> list[Taken]:
    """Load a base model, and train a job if `steps` are asked for. Return what both take."""
    source = case.base.entry(folder / case.base.name).model_copy(update={"dtype": "auto"})
    entry = source.in_precision(case.precision)
    holder = ModelHolder(Settings(model_store=folder / "store"), CPU)
    before, began = held_bytes(CPU), time.perf_counter()
    with peak_memory(CPU) as peak:
        holder.load(FoundModel(entry, entry.path or folder, "random", sharded=False))
    seconds = time.perf_counter() - began
    base: Any = holder.base
    shape = base.budget.model
    assert shape is not None
    runtime = runtime_bytes(base.dtype.itemsize, "cpu")
    expected = " to ".join(f"{each:.0f}" for each in loading_seconds(shape, "cpu"))
    loaded = base_bytes(shape) + loading_bytes(shape) + runtime
    taken = [Taken("load", before + peak.bytes, loaded, seconds, expected)]
    if not steps:
        return taken
    group = ProcessGroup(holder, ALONE, None, Watchdog(inf), case.recompute or "auto")
    rows, _ = rows_of(case)
    collect_garbage(CPU)
    before, began = held_bytes(CPU), time.perf_counter()
    with peak_memory(CPU) as peak:
        trainee, _ = train(group, case, rows)
    seconds = (time.perf_counter() - began) / trainee.total_steps
    load = holder.load_of(case.spec, case.lengths[1])
    tokens = min(group.memory_plan.step_tokens, case.batch_size * case.lengths[1])
    step = step_memory(shape, load, group.memory_plan.recompute, max(tokens, case.lengths[1]))
    expected_bytes = base_bytes(shape) + load.state.total + step.peak + gap_bytes(step, "cpu") + runtime
    return [*taken, Taken("a step after load", before + peak.bytes, round(expected_bytes), seconds)]


if __name__ == "__main__":
    main()
