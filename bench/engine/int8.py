"""Compare training with products in 8 bits and training in the base's own type: loss and time.

    python -m bench.engine.int8 --base DIR --data DIR

For each workload, three jobs train on the same rows with the same seed: one with exact products, one on a
base with `compute = "int8"`, and one on a base whose weights are held in 8 bits. They take turns, step by
step, so that all meet the same machine. The validation losses of the adapters are computed by plain
transformers and PEFT in fp32, with exact products. The figures go to bench/results/int8-DATE.json.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from bench import BENCH
from bench.command_line import add_base, new_parser, positive
from bench.pages.int8 import section
from bench.peers.measuring import holds_pairs
from bench.training.machine import describe
from bench.training.ours import load_base, new_trainee, one_round, rendered
from bench.training.validation import losses_on
from bench.training.workloads import WORKLOADS, Files, build
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.fast import Decoder
from worker.engine.step.trainee import Trainee

RANK, BATCH_SIZE, ROWS = 16, 8, 96
EXACT, INT8, HELD = "exact", "int8", "held"


def main() -> None:
    parser = new_parser(__doc__)
    add_base(parser)
    parser.add_argument("--data", type=Path, help="the folder of real datasets (default: generated rows)")
    parser.add_argument(
        "--rows", type=positive, default=ROWS, help=f"training rows of a job (default {ROWS})"
    )
    today = f"int8-{datetime.now().astimezone():%Y-%m-%d}.json"
    parser.add_argument("--out", type=Path, default=BENCH / "results" / today)
    given = parser.parse_args()
    bases = {EXACT: load_base(given.base), INT8: load_base(given.base), HELD: load_base(given.base, "int8")}
    for name in (INT8, HELD):
        fast_path(bases[name]).compute_in("int8")
    with tempfile.TemporaryDirectory() as folder:
        measured = {
            name: measure(bases, given.base, build(name, Path(folder), given.data, given.rows), Path(folder))
            for name in WORKLOADS
        }
    weight_bytes = {name: bytes_of_layers(base) for name, base in bases.items()}
    report = {
        "machine": asdict(describe()),
        "rows": given.rows,
        "weight_bytes": weight_bytes,
        "workloads": measured,
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    print(section(report))


def fast_path(base: ResidentBase) -> Decoder:
    assert isinstance(base.decoder, Decoder)
    return base.decoder


def bytes_of_layers(base: ResidentBase) -> int:
    """Return the bytes of the memory that holds the weights of all layers, in whatever form."""
    layers = fast_path(base).layers
    held = [value for layer in layers for each in layer._rounded.values() for value in vars(each).values()]
    modules = [
        base.model.get_submodule(name)
        for layer in layers
        for group in layer.groups.values()
        for name in group.columns
    ]
    tensors = [tensor for tensor in held if isinstance(tensor, torch.Tensor)]
    tensors += [parameter for module in modules for parameter in module.parameters()]
    return sum(
        {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values()
    )


def measure(bases: dict[str, ResidentBase], base_folder: Path, files: Files, folder: Path) -> dict[str, Any]:
    """Train the jobs step by step in turns. Return their seconds of CPU time and their validation losses."""
    pairs = holds_pairs(files.train)
    rows = [json.loads(row) for row in files.train.read_text().splitlines()]
    trainees: dict[str, Trainee] = {}
    for name, base in bases.items():
        ready = rendered(base, rows, "preference" if pairs else "chat")
        trainees[name] = new_trainee(base, name, ready, BATCH_SIZE, RANK, pairs=pairs)
    seconds = dict.fromkeys(bases, 0.0)
    while not trainees[EXACT].finished:
        for name, trainee in trainees.items():
            began = time.process_time()
            one_round(bases[name], [trainee])
            seconds[name] += time.process_time() - began
    model: Any = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    before, loss_of = losses_on(base_folder, model, files.validation)
    losses = {}
    for name, trainee in trainees.items():
        trainee.adapter.save(folder / name)
        adapted = PeftModel.from_pretrained(model, folder / name)
        losses[name] = loss_of(adapted)
        model = adapted.unload()
    return {"base_loss": before, "losses": losses, "cpu_seconds": seconds}


if __name__ == "__main__":
    main()
